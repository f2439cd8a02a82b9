"""Where new knowledge stores are kept, and which model they use: the same for users and for `lightspeed ingest`."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lightspeed.errors import BadRequest, StartupError
from lightspeed.stack.passages import EmbeddingModel
from lightspeed.stack.store_choices import StoreChoices
from lightspeed.stack.store_table import StoreTable
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


def without_store(state: Path, model: ScriptedModel, *dimensions: int | None) -> dict[str, Any]:
    """Embedding models m0, m1, ... with these lengths, as far as known, and no store or default."""
    tree = two_providers(state, model)
    tree["registered_resources"] = {
        "models": [
            {
                "model_id": f"m{number}",
                "provider_id": "scripted",
                "model_type": "embedding",
                "metadata": {"embedding_dimension": dimension},
            }
            for number, dimension in enumerate(dimensions)
        ]
    }
    return tree


@pytest.fixture(scope="module")
async def tables(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """A stack whose model m0 has no known length, and m1 one of 384."""
    with ScriptedModel() as model:
        tree = without_store(tmp_path_factory.mktemp("state"), model, None, 384)
        async with embedded_stack(tree) as stack:
            yield stack.client.impls


async def test_the_first_model_of_a_known_length_is_the_default(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        async with embedded_stack(without_store(tmp_path, model, None, 384, 16)) as stack:
            made = (await stack.vector_stores.create("vs_1", NewVectorStore("manuals"))).metadata
            assert await stack.default_embedding_model() == EmbeddingModel("scripted/m1", 384)
    assert (made["embedding_model"], int(made["embedding_dimension"])) == ("scripted/m1", 384)


async def test_a_client_says_the_length_where_nothing_else_does(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        async with embedded_stack(without_store(tmp_path, model, None)) as stack:
            with pytest.raises(
                StartupError, match=r"^run\.yaml: .* how long the embeddings of scripted/m0 are"
            ):
                await stack.default_embedding_model()
            with pytest.raises(BadRequest, match="embedding_dimension is required"):
                await stack.vector_stores.create("vs_1", NewVectorStore("manuals"))
            said = NewVectorStore("manuals", embedding_dimension=16)
            made = (await stack.vector_stores.create("vs_1", said)).metadata
    assert int(made["embedding_dimension"]) == 16


@pytest.mark.parametrize(
    ("model", "beside_default", "wanted", "length"),
    [
        ("m0", None, 16, 16),
        ("m0", 32, None, 32),
        ("m0", 32, 16, 16),
        ("m1", 32, None, 384),
        ("m1", 32, 384, 384),
        ("m0", None, None, "is required"),
        ("m1", 16, 16, "have 384 dimensions, not 16"),
    ],
)
@pytest.mark.parametrize("is_named", [False, True])
async def test_the_length_is_the_models_then_the_clients_then_that_beside_the_default(
    tables: Any, model: str, beside_default: int | None, wanted: int | None, length: int | str, is_named: bool
) -> None:
    from llama_stack.core.datatypes import QualifiedModel, VectorStoresConfig

    default = QualifiedModel(provider_id="scripted", model_id=model, embedding_dimensions=beside_default)
    choices = StoreChoices(StoreTable(tables), VectorStoresConfig(default_embedding_model=default))
    name = f"scripted/{model}"
    new = NewVectorStore("manuals", embedding_model=name if is_named else None, embedding_dimension=wanted)
    if isinstance(length, str):
        with pytest.raises(BadRequest, match=length):
            await choices.embedding(new)
    else:
        assert await choices.embedding(new) == (name, length)


async def test_ingest_uses_the_length_that_stands_beside_the_default(tables: Any) -> None:
    from llama_stack.core.datatypes import QualifiedModel, VectorStoresConfig

    default = QualifiedModel(provider_id="scripted", model_id="m0", embedding_dimensions=32)
    choices = StoreChoices(StoreTable(tables), VectorStoresConfig(default_embedding_model=default))
    assert await choices.usual_embedding() == EmbeddingModel("scripted/m0", 32)
