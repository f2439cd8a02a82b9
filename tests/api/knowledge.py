"""The whole application with knowledge stores and files in its stack."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio import to_thread
from asgi_lifespan import LifespanManager
from blockbuster import BlockBuster

from lightspeed.app import create_app
from lightspeed.errors import LightspeedError
from lightspeed.storage.database import Database
from lightspeed.storage.ownership import Ownership
from tests.api.conftest import Service, plan, rules
from tests.embedded import KNOWLEDGE, run_configuration, with_store
from tests.scripted_model import ScriptedModel

VS = "/v1/vector-stores"
ALICE, BOB = "alice", "bob"


def with_files(state: Path) -> dict[str, Any]:
    """The stack's own provider of files, with the stock vector stores."""
    files = {
        "provider_id": "localfs",
        "provider_type": "inline::localfs",
        "config": {
            "storage_dir": str(state / "stack" / "files"),
            "metadata_store": {"backend": "sql_default", "table_name": "files_metadata"},
        },
    }
    return {**KNOWLEDGE, "files": [files]}


def stock(state: Path, model: ScriptedModel) -> dict[str, Any]:
    """The stack's own providers."""
    return with_store(run_configuration(state, model, **with_files(state)), "knowledge")


def own(state: Path, model: ScriptedModel, **settings: Any) -> dict[str, Any]:
    """The providers of this service, for vector stores (with `settings`) and files."""
    providers = {
        "vector_io": [
            {
                "provider_id": "faiss",
                "provider_type": "inline::faiss-sqlite",
                "module": "lightspeed.stack.providers.faiss_sqlite",
                "config": {"path": str(state / "stack" / "knowledge"), **settings},
            }
        ],
        "files": [
            {
                "provider_id": "local",
                "provider_type": "inline::local-files",
                "module": "lightspeed.stack.providers.local_files",
                "config": {"path": str(state / "stack" / "files")},
            }
        ],
    }
    return with_store(run_configuration(state, model, **providers), "knowledge")


def allow_the_stock_providers(blockbuster: BlockBuster) -> None:
    """The stack's own providers read and write files in the event loop."""
    places = {
        "inline/files/localfs/files.py": {
            "openai_upload_file",
            "openai_delete_file",
            "openai_retrieve_file_content",
            "_validate_path_containment",
        },
        "utils/memory/openai_vector_store_mixin.py": {"openai_attach_file_to_vector_store"},
    }
    for function in blockbuster.functions.values():
        for file, names in places.items():
            function.can_block_in(file, names)


@asynccontextmanager
async def knowledge_service(
    state: Path, model: ScriptedModel, run: Mapping[str, Any], **sections: Any
) -> AsyncIterator[Service]:
    failures: list[LightspeedError] = []
    checked = await to_thread.run_sync(partial(plan, state, model, **sections))
    app = create_app(replace(checked, run_configuration=run), failures.append, authorize=rules)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LIGHTSPEED_STATE", str(state))
        async with LifespanManager(app, startup_timeout=30, shutdown_timeout=30) as manager:
            transport = httpx.ASGITransport(manager.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                with anyio.fail_after(60):
                    while (await client.get("/readiness")).status_code != 200:
                        assert not failures, failures
                        await anyio.sleep(0.01)
                yield Service(manager.app, client, model, state)


@asynccontextmanager
async def owners(service: Service) -> AsyncIterator[Ownership]:
    """The rows of the service, through a connection of the test."""
    database = Database.at(service.state / "lightspeed.db")
    await database.open()
    try:
        yield Ownership(database)
    finally:
        await database.close()


async def made_store(client: httpx.AsyncClient, name: str = "manuals", **fields: Any) -> dict[str, Any]:
    answer = await client.post(VS, json={"name": name, **fields})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def uploaded_file(
    client: httpx.AsyncClient, content: bytes = b"Backups run at noon.", name: str = "backup.txt"
) -> dict[str, Any]:
    answer = await client.post("/v1/files", files={"file": (name, content)})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def error(answer: httpx.Response) -> tuple[int, str, str]:
    detail = answer.json()["detail"]
    return answer.status_code, detail["response"], detail["cause"]
