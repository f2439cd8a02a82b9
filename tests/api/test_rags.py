"""The names of knowledge stores, as users know them."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.conftest import Service
from tests.api.knowledge import ALICE, BOB, VS, error, knowledge_service, made_store, with_files
from tests.embedded import run_configuration, with_store
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.anyio

MANUALS = "vs_8c94967b-81cc-4028-a294-9cfac6fd9ae2"


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """With a store of its own that users know as `manuals`, and the Offline Knowledge Portal."""
    state = tmp_path_factory.mktemp("state")
    with ScriptedModel() as model:
        run = with_store(run_configuration(state, model, **with_files(state)), "knowledge", MANUALS)
        sections: dict[str, Any] = {
            "byok_rag": [
                {"rag_id": "manuals", "vector_db_id": MANUALS, "db_path": str(state / "manuals.db")},
                {"rag_id": "second", "vector_db_id": MANUALS, "db_path": str(state / "manuals.db")},
            ],
            "rag": {"inline": ["manuals"], "tool": ["okp"]},
        }
        async with knowledge_service(state, model, run, **sections) as service:
            yield service


async def names(service: Service, user: str = ALICE, **query: Any) -> list[str]:
    async with service.user(user) as client:
        found: list[str] = (await client.get("/v1/rags", params=query)).json()["rags"]
        return found


async def test_names_are_those_of_the_configuration(service: Service) -> None:
    assert set(await names(service)) == {"knowledge", "manuals", "okp"}


async def test_own_stores_are_among_them_newest_first(service: Service) -> None:
    async with service.user(ALICE) as client:
        # Not in the same second as the start of the service.
        started = (await client.get("/v1/rags/okp")).json()["created_at"]
        while time.time() < started + 1:
            await client.get("/liveness")
        made = await made_store(client)
        assert (await names(service))[0] == made["id"]
        assert (await names(service, order="asc"))[-1] == made["id"]
        assert made["id"] not in await names(service, BOB)
        info = (await client.get(f"/v1/rags/{made['id']}")).json()
        assert (info["id"], info["name"]) == (made["id"], "manuals")
        async with service.user(BOB) as bob:
            assert error(await bob.get(f"/v1/rags/{made['id']}"))[:2] == (404, "Rag not found")
        await client.delete(f"{VS}/{made['id']}")


async def test_a_store_has_both_its_ids(service: Service) -> None:
    by_name = (await service.client.get("/v1/rags/manuals")).json()
    by_id = (await service.client.get(f"/v1/rags/{MANUALS}")).json()
    assert by_name == by_id
    assert set(by_name) == {
        "id",
        "name",
        "created_at",
        "last_active_at",
        "usage_bytes",
        "expires_at",
        "object",
        "status",
    }
    assert (by_name["id"], by_name["object"], by_name["status"]) == ("manuals", "vector_store", "completed")


async def test_a_configured_store_is_read_only_also_if_its_id_looks_like_a_users(service: Service) -> None:
    async with service.user(BOB) as bob:
        assert (await bob.get(f"{VS}/{MANUALS}")).status_code == 200
        assert (await bob.delete(f"{VS}/{MANUALS}")).status_code == 403


async def test_the_portal_answers_too(service: Service) -> None:
    for name in ("okp", "portal-rag"):
        info = (await service.client.get(f"/v1/rags/{name}")).json()
        assert (info["id"], info["status"], info["usage_bytes"]) == ("okp", "completed", 0)
        assert 0 <= time.time() - info["created_at"] < 300


async def test_what_is_not_there_is_not_found(service: Service) -> None:
    assert error(await service.client.get("/v1/rags/none")) == (
        404,
        "Rag not found",
        "Rag with ID none does not exist",
    )


async def test_pages(service: Service) -> None:
    everything = await names(service)
    first = (await service.client.get("/v1/rags", params={"limit": 2})).json()
    assert first == {
        "rags": everything[:2],
        "has_more": True,
        "first_id": everything[0],
        "last_id": everything[1],
    }
    assert await names(service, after=everything[1]) == everything[2:]
    assert await names(service, before=everything[2], limit=1) == everything[1:2]
    assert (await service.client.get("/v1/rags", params={"after": "none"})).status_code == 404
