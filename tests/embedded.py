"""Parts of the real service, put together for tests: the embedded stack in front of a scripted model."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from lightspeed.stack.environment import prepare_environment
from tests.scripted_model import ScriptedModel

if TYPE_CHECKING:
    from lightspeed.stack.client import EmbeddedStack


def storage(folder: Path) -> dict[str, Any]:
    """The section `storage`: all databases of the stack in one folder."""
    return {
        "backends": {
            "kv_default": {"type": "kv_sqlite", "db_path": str(folder / "registry.db")},
            "kv_knowledge": {"type": "kv_sqlite", "db_path": str(folder / "knowledge.db")},
            "sql_default": {"type": "sql_sqlite", "db_path": str(folder / "stack.db")},
        },
        "stores": {
            "metadata": {"backend": "kv_default", "namespace": "registry"},
            "inference": {"backend": "sql_default", "table_name": "inference_store"},
            "conversations": {"backend": "sql_default", "table_name": "openai_conversations"},
            "prompts": {"backend": "kv_default", "namespace": "prompts"},
            "connectors": {"backend": "kv_default", "namespace": "connectors"},
        },
    }


def run_configuration(state: Path, model: ScriptedModel, **providers: Any) -> dict[str, Any]:
    """A run configuration whose only models are the scripted ones; `providers` adds APIs."""
    return {
        "version": 2,
        "distro_name": "tests",
        "apis": ["inference", *providers],
        "providers": {
            "inference": [
                {
                    "provider_id": "scripted",
                    "provider_type": "remote::openai",
                    "config": {"api_key": "sk-scripted-key", "base_url": model.base_url},
                }
            ],
            **providers,
        },
        "storage": storage(state / "stack"),
    }


KNOWLEDGE: dict[str, Any] = {
    "vector_io": [
        {
            "provider_id": "faiss",
            "provider_type": "inline::faiss",
            "config": {"persistence": {"backend": "kv_knowledge", "namespace": "vector_io::faiss"}},
        }
    ]
}


def knowledge(folder: Path) -> dict[str, Any]:
    """The section of providers for knowledge stores in a folder."""
    return {
        "vector_io": [
            {
                "provider_id": "faiss",
                "provider_type": "inline::faiss-sqlite",
                "module": "lightspeed.stack.providers.faiss_sqlite",
                "config": {"path": str(folder)},
            }
        ]
    }


def with_store(configuration: dict[str, Any], *stores: str) -> dict[str, Any]:
    """Registers vector stores that use the scripted embedding model."""
    return configuration | {
        "registered_resources": {
            "models": [
                {
                    "model_id": "scripted-embedding",
                    "provider_id": "scripted",
                    "provider_model_id": "scripted-embedding",
                    "model_type": "embedding",
                    "metadata": {"embedding_dimension": 384},
                }
            ],
            "vector_stores": [
                {
                    "vector_store_id": store,
                    "provider_id": "faiss",
                    "embedding_model": "scripted/scripted-embedding",
                    "embedding_dimension": 384,
                }
                for store in stores
            ],
        }
    }


@asynccontextmanager
async def embedded_stack(configuration: dict[str, Any]) -> AsyncIterator["EmbeddedStack"]:
    await to_thread.run_sync(prepare_environment)
    module = await to_thread.run_sync(import_module, "lightspeed.stack.client")
    stack = await module.EmbeddedStack.start(configuration)
    try:
        yield stack
    finally:
        await stack.close()
