"""What the service's configuration adds to run.yaml."""

import base64
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from lightspeed.configuration.rag import ByokRag
from lightspeed.errors import ConfigurationError
from lightspeed.stack.enrichment import enriched

SOURCE = Path("lightspeed-stack.yaml")


def run(**providers: Any) -> dict[str, Any]:
    return {
        "version": 2,
        "apis": ["inference"],
        "providers": {"inference": [{"provider_id": "onnx", "provider_type": "inline::onnx"}], **providers},
        "registered_resources": {
            "models": [
                {
                    "model_id": "minilm",
                    "provider_id": "onnx",
                    "provider_model_id": "minilm",
                    "model_type": "embedding",
                    "metadata": {"embedding_dimension": 3},
                }
            ]
        },
        "storage": {"backends": {}},
    }


def stock_database(path: Path, store: str = "vs_1", dimension: int = 3) -> Path:
    """A database as the stack's own provider writes it, with one chunk."""
    index = faiss.IndexFlatL2(dimension)
    index.add(np.eye(1, dimension, dtype=np.float32))
    buffer = io.BytesIO()
    np.save(buffer, faiss.serialize_index(index))
    value = {
        "chunk_by_index": {"0": json.dumps({"content": "text", "chunk_id": "c", "metadata": {}})},
        "faiss_index": base64.b64encode(buffer.getvalue()).decode(),
    }
    described = {"identifier": store, "embedding_dimension": dimension, "embedding_model": "onnx/minilm"}
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE kvstore (key TEXT PRIMARY KEY, value TEXT, expiration TIMESTAMP)")
        connection.executemany(
            "INSERT INTO kvstore VALUES (?, ?, NULL)",
            [
                (f"faiss_index:v3::{store}", json.dumps(value)),
                (f"vector_stores:v3::{store}", json.dumps(described)),
            ],
        )
    connection.close()
    return path


def entry(path: Path, **fields: Any) -> ByokRag:
    given = {
        "rag_id": "manual",
        "vector_db_id": "vs_1",
        "db_path": str(path),
        "embedding_model": "onnx/minilm",
        "embedding_dimension": 3,
    }
    return ByokRag.model_validate(given | fields)


def test_a_store_of_the_users_own_is_read_only_and_kept_in_the_state_directory(tmp_path: Path) -> None:
    database = stock_database(tmp_path / "kb.db")
    before = run()
    given = json.dumps(before)
    tree = enriched(before, [entry(database)], SOURCE, tmp_path / "state")
    assert json.dumps(before) == given
    (provider,) = tree["providers"]["vector_io"]
    assert provider["provider_id"] == "byok_manual"
    assert provider["config"] == {
        "path": str(tmp_path / "state" / "knowledge" / "byok_manual"),
        "import_from": str(database),
        "read_only": True,
    }
    assert tree["registered_resources"]["vector_stores"] == [
        {
            "vector_store_id": "vs_1",
            "provider_id": "byok_manual",
            "embedding_model": "onnx/minilm",
            "embedding_dimension": 3,
        }
    ]
    assert len(tree["registered_resources"]["models"]) == 1
    assert {"vector_io", "files"} <= set(tree["apis"])
    assert not (tmp_path / "state").exists()


def test_an_embedding_model_of_sentence_transformers_is_registered_with_its_provider(tmp_path: Path) -> None:
    database = stock_database(tmp_path / "kb.db")
    stores = [entry(database, embedding_model="sentence-transformers//models/mpnet")]
    tree = enriched(run(), stores, SOURCE, tmp_path)
    assert tree["providers"]["inference"][1]["provider_id"] == "sentence-transformers"
    model = tree["registered_resources"]["models"][1]
    assert (model["model_id"], model["provider_model_id"]) == ("byok_manual_embedding", "/models/mpnet")
    assert model["metadata"] == {"embedding_dimension": 3}
    (store,) = tree["registered_resources"]["vector_stores"]
    assert store["embedding_model"] == "sentence-transformers//models/mpnet"


def test_what_run_yaml_says_already_wins(tmp_path: Path) -> None:
    given = run(vector_io=[{"provider_id": "byok_manual", "provider_type": "remote::pgvector"}])
    own = {
        "vector_store_id": "vs_1",
        "provider_id": "byok_manual",
        "embedding_model": "m",
        "embedding_dimension": 9,
    }
    given["registered_resources"]["vector_stores"] = [own]
    given["vector_stores"] = {"default_provider_id": "other"}
    tree = enriched(given, [entry(tmp_path / "no.db")], SOURCE, tmp_path)
    assert tree["providers"]["vector_io"] == given["providers"]["vector_io"]
    assert tree["registered_resources"]["vector_stores"] == [own]
    assert tree["vector_stores"]["default_provider_id"] == "other"


def test_new_stores_go_to_the_first_provider_that_can_be_written(tmp_path: Path) -> None:
    given = run(
        vector_io=[
            {
                "provider_id": "archive",
                "provider_type": "inline::faiss-sqlite",
                "config": {"read_only": True},
            },
            {"provider_id": "faiss", "provider_type": "inline::faiss-sqlite", "config": {"path": "x"}},
        ]
    )
    tree = enriched(given, [], SOURCE, tmp_path)
    assert tree["vector_stores"] == {
        "default_provider_id": "faiss",
        "default_embedding_model": {"provider_id": "onnx", "model_id": "minilm", "embedding_dimensions": 3},
    }
    (files,) = tree["providers"]["files"]
    assert files["provider_type"] == "inline::local-files"


def test_the_stock_provider_becomes_ours_and_its_database_stays(tmp_path: Path) -> None:
    database = stock_database(tmp_path / "faiss_store.db")
    given = run(
        vector_io=[
            {
                "provider_id": "faiss",
                "provider_type": "inline::faiss",
                "config": {"persistence": {"backend": "kv", "namespace": "vector_io::faiss"}},
            },
            {
                "provider_id": "shared",
                "provider_type": "inline::faiss",
                "config": {"persistence": {"backend": "redis"}},
            },
        ]
    )
    given["storage"]["backends"] = {
        "kv": {"type": "kv_sqlite", "db_path": str(database)},
        "redis": {"type": "kv_redis", "host": "h"},
    }
    ours, stock = enriched(given, [], SOURCE, tmp_path / "state")["providers"]["vector_io"]
    assert ours == {
        "provider_id": "faiss",
        "provider_type": "inline::faiss-sqlite",
        "module": "lightspeed.stack.providers.faiss_sqlite",
        "config": {"path": f"{database}.lightspeed", "import_from": str(database)},
    }
    assert stock["provider_type"] == "inline::faiss"


def test_without_stores_nothing_is_added(tmp_path: Path) -> None:
    assert enriched(run(), [], SOURCE, tmp_path)["providers"].keys() == {"inference"}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"db_path": "missing.db"}, "db_path: missing.db does not exist"),
        ({"db_path": "{folder}"}, "db_path: {folder} is not a file"),
        ({"vector_db_id": "vs_2"}, "vector_db_id: `vs_2` is not in {database}; there: vs_1"),
        ({"embedding_dimension": 768}, "embedding_dimension: the vectors in {database} have 3"),
        ({"rag_type": "inline::sqlite-vec"}, "rag_type: `inline::sqlite-vec` is neither"),
        ({"rag_type": "inline::faiss-sqlite"}, "db_path: {database} is not a folder of stores"),
        ({"db_path": "{folder}/text.db"}, "db_path: {folder}/text.db is not a database of vector stores"),
    ],
)
def test_mistakes_are_one_line_each(tmp_path: Path, fields: dict[str, Any], problem: str) -> None:
    database = stock_database(tmp_path / "kb.db")
    (tmp_path / "text.db").write_text("no database" * 100)
    places = {"database": database, "folder": tmp_path}
    fields = {
        key: value.format(**places) if isinstance(value, str) else value for key, value in fields.items()
    }
    with pytest.raises(ConfigurationError) as caught:
        enriched(run(), [entry(database, **fields)], SOURCE, tmp_path)
    (line,) = caught.value.problems
    assert line.startswith(f"{SOURCE}: byok_rag[0].{problem.format(**places)}")
