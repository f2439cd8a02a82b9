"""Stores of providers that are not ours."""

from pathlib import Path

import pytest
from llama_stack_api import Api, ChunkMetadata, EmbeddedChunk, InsertChunksRequest

from lightspeed.stack.passages import EmbeddingModel, NewPassage
from tests.embedded import KNOWLEDGE, embedded_stack, run_configuration, with_store
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
