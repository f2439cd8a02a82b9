"""Taking over databases of the stack's own provider."""

import base64
import io
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from anyio import to_thread
from rich.console import Console

from lightspeed.commands.ingest_database import chosen_store, import_database
from lightspeed.errors import BadRequest, StartupError
from lightspeed.stack.passages import EmbeddingModel
from tests.embedded import embedded_stack, knowledge, run_configuration, with_store
from tests.scripted_model import ScriptedModel
from tests.scripted_model.embedding import embed

pytestmark = pytest.mark.anyio

MODEL, SECOND, SHORT = (f"scripted/{name}-embedding" for name in ("scripted", "second", "short"))
STORE = "vs_built"
TEXT = "The kettle must be descaled."


def database(
    path: Path, embedding_model: str | None, *, length: int = 384, said_length: int | None = 384
) -> Path:
    """One passage, as rag-content's manual chunking writes it; `said_length` is what the record of the store says."""
    index = faiss.IndexFlatL2(length)
    index.add(np.array([embed(TEXT, length)], np.float32))
    npy = io.BytesIO()
    np.save(npy, faiss.serialize_index(index))
    metadata = {"docs_url": "kettle.md", "title": "Kettles", "url_reachable": False, "document_id": "file-1"}
    chunk = {"content": TEXT, "chunk_id": "c-1", "metadata": metadata, "chunk_metadata": None}
    rows: dict[str, Any] = {
        f"faiss_index:v3::{STORE}": {
            "chunk_by_index": {"0": json.dumps(chunk)},
            "faiss_index": base64.b64encode(npy.getvalue()).decode(),
        },
        f"vector_stores:v3::{STORE}": {
            "embedding_model": embedding_model,
            "embedding_dimension": said_length,
        },
    }
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE kvstore (key TEXT PRIMARY KEY, value TEXT, expiration TIMESTAMP)")
        connection.executemany(
            "INSERT INTO kvstore VALUES (?, ?, NULL)",
            [(key, json.dumps(value)) for key, value in rows.items()],
        )
        connection.commit()
    return path


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    folder = tmp_path_factory.mktemp("stack")
    names = ("scripted-embedding", "second-embedding", "short-embedding")
    async with ScriptedModel(embedding_models=names) as model:
        configuration = with_store(run_configuration(folder, model, **knowledge(folder / "kb")), "docs")
        models = configuration["registered_resources"]["models"]
        models.append({**models[0], "model_id": "second", "provider_model_id": "second-embedding"})
        short = {"provider_model_id": "short-embedding", "metadata": {"embedding_dimension": 16}}
        models.append({**models[0], "model_id": "short", **short})
        (folder / "stack").mkdir()
        async with embedded_stack(configuration) as stack:
            yield stack


async def taken_over(stack: Any, path: Path, store: str, embedding_model: str | None = None) -> list[Any]:
    console = Console(file=io.StringIO())
    stock = await to_thread.run_sync(chosen_store, path, None)
    await import_database(stack, path, stock, embedding_model, store, console)
    found: list[Any] = await stack.knowledge.search(store, stack.knowledge.question("kettle"), 5)
    return found


@pytest.mark.parametrize("named", [MODEL, "/build/scripted-embedding", None])
async def test_the_model_is_the_one_that_the_database_means(
    stack: Any, tmp_path: Path, named: str | None
) -> None:
    path = await to_thread.run_sync(database, tmp_path / "kb.db", named)
    (found,) = await taken_over(stack, path, tmp_path.name)
    assert (found.content, found.metadata["document_id"]) == (TEXT, "file-1")
    assert MODEL in found.scale


async def test_where_the_database_names_another_the_user_says_which_it_is(stack: Any, tmp_path: Path) -> None:
    path = await to_thread.run_sync(database, tmp_path / "kb.db", "/rag-content/embeddings_model")
    with pytest.raises(StartupError) as refused:
        await taken_over(stack, path, "kettles")
    for said in ("/rag-content/embeddings_model", "--embedding-model", MODEL, SECOND):
        assert said in str(refused.value)
    with pytest.raises(StartupError, match="no embedding model minilm"):
        await taken_over(stack, path, "kettles", "minilm")
    (found,) = await taken_over(stack, path, "kettles", SECOND)
    assert SECOND in found.scale


async def test_nothing_goes_into_a_store_of_another_model(stack: Any, tmp_path: Path) -> None:
    path = await to_thread.run_sync(database, tmp_path / "kb.db", SECOND)
    with pytest.raises(BadRequest, match=f"docs has the embedding model {MODEL}"):
        await taken_over(stack, path, "docs")
    assert await stack.knowledge.search("docs", stack.knowledge.question("kettle"), 5) == []


@pytest.mark.parametrize("said_length", [None, 16, 384])
@pytest.mark.parametrize(
    ("named", "wanted", "length"),
    [(None, SHORT, 384), (SHORT, None, 384), ("/build/short-embedding", None, 384), (None, None, 16)],
)
async def test_a_model_of_another_length_leaves_no_store(
    stack: Any, tmp_path: Path, named: str | None, wanted: str | None, length: int, said_length: int | None
) -> None:
    def built() -> Path:
        return database(tmp_path / "kb.db", named, length=length, said_length=said_length)

    path = await to_thread.run_sync(built)
    with pytest.raises(StartupError, match="--embedding-model"):
        await taken_over(stack, path, "blocked", wanted)
    assert "blocked" not in await stack.knowledge.ids()


async def test_passages_of_no_named_model_go_into_a_store_whose_model_fits(
    stack: Any, tmp_path: Path
) -> None:
    def built() -> Path:
        return database(tmp_path / "kb.db", None, length=16)

    await stack.knowledge.create("short", EmbeddingModel(SHORT, 16))
    path = await to_thread.run_sync(built)
    stock = await to_thread.run_sync(chosen_store, path, None)
    assert stock.dimension == 16
    await import_database(stack, path, stock, None, "short", Console(file=io.StringIO()))
    assert await stack.knowledge.documents("short")
