"""Where new knowledge stores are kept, and which model they use: the same for users and for `lightspeed ingest`."""

from pathlib import Path
from typing import Any

import pytest

from lightspeed.stack.passages import EmbeddingModel
from lightspeed.stack.stored_objects import NewVectorStore
from tests.embedded import embedded_stack, run_configuration, with_store
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.anyio


def two_providers(state: Path, model: ScriptedModel) -> dict[str, Any]:
    """Two places for stores and two embedding models; a store in the first place uses the first model."""
    (state / "stack").mkdir()
    stores = [
        {
            "provider_id": name,
            "provider_type": "inline::faiss-sqlite",
            "module": "lightspeed.stack.providers.faiss_sqlite",
            "config": {"path": str(state / name)},
        }
        for name in ("faiss", "large")
    ]
    tree = with_store(run_configuration(state, model, vector_io=stores), "knowledge")
    models = tree["registered_resources"]["models"]
    models.append(models[0] | {"model_id": "other", "provider_model_id": "other"})
    return tree


async def test_the_defaults_of_the_run_configuration_hold_for_ingest_too(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        tree = two_providers(tmp_path, model)
        tree["vector_stores"] = {
            "default_provider_id": "large",
            "default_embedding_model": {"provider_id": "scripted", "model_id": "other"},
        }
        async with embedded_stack(tree) as stack:
            usual = await stack.default_embedding_model()
            assert usual == EmbeddingModel("scripted/other", 384)
            await stack.knowledge.create("new", usual)
            ingested = (await stack.vector_stores.get("new")).metadata
            made = (await stack.vector_stores.create("vs_1", NewVectorStore("manuals"))).metadata
    for key in ("provider_id", "embedding_model", "embedding_dimension"):
        assert ingested[key] == made[key]
    assert (made["provider_id"], made["embedding_model"]) == ("large", "scripted/other")


async def test_the_store_of_a_user_decides_nothing(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        tree = two_providers(tmp_path, model)
        tree["registered_resources"]["vector_stores"] = []
        async with embedded_stack(tree) as stack:
            others = NewVectorStore("manuals", embedding_model="scripted/other")
            await stack.vector_stores.create("vs_1", others)
            usual = await stack.default_embedding_model()
    assert usual.name == "scripted/scripted-embedding"
