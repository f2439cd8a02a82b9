"""Stores of providers that are not ours."""

import threading
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from llama_stack_api import Api, ChunkMetadata, EmbeddedChunk, InsertChunksRequest

from lightspeed.stack.knowledge import _metadata as elsewhere
from lightspeed.stack.passages import EmbeddingModel, NewPassage
from lightspeed.stack.providers.faiss_sqlite.chunks import ScoredChunk
from lightspeed.stack.providers.faiss_sqlite.querying import Search
from lightspeed.stack.remote.knowledge import _engine as engine
from lightspeed.stack.remote.knowledge import _passage as remote_passage
from lightspeed.stack.remote.store_directory import StoreEntry
from tests.embedded import KNOWLEDGE, embedded_stack, run_configuration, with_store
from tests.embedded import knowledge as knowledge_section
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.anyio


async def test_the_document_of_a_passage_may_be_told_beside_its_metadata(tmp_path: Path) -> None:
    async with ScriptedModel() as model:
        configuration = with_store(run_configuration(tmp_path, model, **KNOWLEDGE), "docs")
        (tmp_path / "stack").mkdir()
        async with embedded_stack(configuration) as stack:
            knowledge = stack.knowledge
            vector = (await knowledge.question("nodes").vector("scripted/scripted-embedding")).tolist()
            told = ChunkMetadata(chunk_id="c", document_id="d")
            chunk = EmbeddedChunk(
                content="Nodes.",
                chunk_id="c",
                metadata={"tag": "a"},
                chunk_metadata=told,
                embedding=vector,
                embedding_model="scripted/scripted-embedding",
                embedding_dimension=384,
            )
            request = InsertChunksRequest(vector_store_id="docs", chunks=[chunk])
            await stack.client.impls[Api.vector_io].insert_chunks(request)
            (found,) = await knowledge.search("docs", knowledge.question("nodes"), 5)
    assert found.metadata == {"tag": "a", "document_id": "d"}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"document_id": None}, {"document_id": "told"}),
        ({"doc_id": "own"}, {"doc_id": "own"}),
        ({"document_id": "own"}, {"document_id": "own"}),
    ],
)
def test_what_the_metadata_say_of_the_document_counts_if_they_say_it(
    metadata: dict[str, str | None], expected: dict[str, str]
) -> None:
    told = {"document_id": "told"}
    assert elsewhere(SimpleNamespace(metadata=metadata, chunk_metadata=SimpleNamespace(**told))) == expected
    remote = {"content": "Nodes.", "metadata": metadata, "chunk_metadata": told}
    assert remote_passage(remote, 0.5, "").metadata == expected


async def test_the_model_of_a_store_and_a_search_that_hangs_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedModel() as model:
        configuration = with_store(
            run_configuration(tmp_path, model, **knowledge_section(tmp_path / "knowledge")), "docs"
        )
        (tmp_path / "stack").mkdir()
        async with embedded_stack(configuration) as stack:
            knowledge = stack.knowledge
            assert await knowledge.model_of("docs") == EmbeddingModel("scripted/scripted-embedding", 384)
            assert await knowledge.model_of("none") is None
            await knowledge.insert("docs", [NewPassage("docs-0", "Nodes.", {"document_id": "d"})])
            begun, go_on = threading.Event(), threading.Event()

            def hang(self: Search, *arguments: object) -> list[ScoredChunk]:
                begun.set()
                go_on.wait(30)
                return []

            with monkeypatch.context() as patched:
                patched.setattr(Search, "find", hang)
                try:
                    with anyio.move_on_after(1) as limit:
                        await knowledge.search("docs", knowledge.question("nodes"), 5)
                    assert begun.is_set()
                    assert limit.cancelled_caught
                    assert not go_on.is_set()
                finally:
                    go_on.set()
            assert await knowledge.search("docs", knowledge.question("nodes"), 5)


async def test_scores_of_two_embedding_models_do_not_compare_in_one_provider_either(tmp_path: Path) -> None:
    async with ScriptedModel(embedding_models=("scripted-embedding", "second-embedding")) as model:
        configuration = with_store(run_configuration(tmp_path, model, **KNOWLEDGE), "docs", "more")
        models = configuration["registered_resources"]["models"]
        models.append({**models[0], "model_id": "second", "provider_model_id": "second-embedding"})
        (tmp_path / "stack").mkdir()
        async with embedded_stack(configuration) as stack:
            await stack.knowledge.create("other", EmbeddingModel("scripted/second-embedding", 384))
            scales = []
            for store in ("docs", "more", "other"):
                passage = NewPassage(f"{store}-0", "Nodes.", {"document_id": "d"})
                await stack.knowledge.insert(store, [passage])
                (found,) = await stack.knowledge.search(store, stack.knowledge.question("nodes"), 5)
                scales.append(found.scale)
    assert scales[0] == scales[1] != scales[2]


def test_providers_that_a_server_has_for_single_stores_have_one_scale() -> None:
    engines = [
        engine(StoreEntry("vs", "vs", provider, None)) for provider in ("byok_a", "byok_b", "pgvector")
    ]
    assert engines[0] == engines[1] != engines[2]
