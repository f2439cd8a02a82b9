"""Vector stores through the API: whose they are, what can be done with them, and what is refused."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio import to_thread
from asgi_lifespan import LifespanManager
from blockbuster import BlockBuster

from lightspeed.app import create_app
from lightspeed.errors import StorageError
from lightspeed.stack.stored_objects import VectorStore
from lightspeed.stack.vector_stores import VectorStores
from lightspeed.storage.owned import OwnedStore
from tests.api.conftest import NOBODY, ROOT, Service, plan
from tests.api.knowledge import (
    ALICE,
    BOB,
    VS,
    allow_the_stock_providers,
    error,
    knowledge_service,
    made_store,
    own,
    owners,
    stock,
    uploaded_file,
)
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.anyio

UNKNOWN = "vs_00000000-0000-4000-8000-000000000000"
EMBEDDING = "scripted/scripted-embedding"


@pytest.fixture(scope="module", params=[own, stock])
async def knowledge(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    state = tmp_path_factory.mktemp("state")
    with ScriptedModel() as model:
        async with knowledge_service(state, model, request.param(state, model)) as service:
            yield service


@pytest.fixture(autouse=True)
def stock_providers(no_blocking_calls: BlockBuster) -> None:
    allow_the_stock_providers(no_blocking_calls)


@pytest.fixture
async def alice(knowledge: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A user without any stores."""
    async with knowledge.user(ALICE) as client:
        yield client
        for store in await made_by(client):
            await client.delete(f"{VS}/{store['id']}")


async def made_by(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = (await client.get(VS, params={"limit": 100})).json()
    return [store for store in answer["data"] if store["id"] != "knowledge"]


async def test_the_life_of_a_store(alice: httpx.AsyncClient) -> None:
    made = await made_store(alice, metadata={"team": "docs"}, embedding_model=EMBEDDING)
    path = f"{VS}/{made['id']}"
    assert set(made) == {
        "id",
        "name",
        "created_at",
        "last_active_at",
        "expires_at",
        "status",
        "usage_bytes",
        "metadata",
    }
    assert made["status"] == "completed"
    assert made["metadata"] == {
        "team": "docs",
        "provider_id": "faiss",
        "provider_vector_store_id": made["id"],
        "embedding_model": EMBEDDING,
        "embedding_dimension": "384",
    }
    assert (await alice.get(path)).json() == made
    assert await made_by(alice) == [made]

    changed = (await alice.put(path, json={"name": "guides"})).json()
    assert (changed["name"], changed["metadata"]) == ("guides", made["metadata"])

    assert (await alice.delete(path)).json() == {
        "deleted": True,
        "vector_store_id": made["id"],
        "response": "Vector store deleted successfully",
    }
    assert error(await alice.get(path)) == (
        404,
        "Vector Store not found",
        f"Vector Store with ID {made['id']} does not exist",
    )
    assert (await alice.delete(path)).json() == {
        "deleted": False,
        "vector_store_id": made["id"],
        "response": "Vector store not found",
    }
    assert await made_by(alice) == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PUT", "", {"name": "mine now"}),
        ("DELETE", "", None),
        ("POST", "/search", {"query": "backups"}),
        ("POST", "/files", {"file_id": "file-1"}),
        ("GET", "/files", None),
        ("GET", "/files/file-1", None),
        ("DELETE", "/files/file-1", None),
    ],
)
async def test_the_store_of_another_user_is_as_one_that_is_not_there(
    knowledge: Service, alice: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    made = await made_store(alice)
    async with knowledge.user(BOB) as bob:
        foreign = await bob.request(method, f"{VS}/{made['id']}{path}", json=body)
        unknown = await bob.request(method, f"{VS}/{UNKNOWN}{path}", json=body)
    assert foreign.status_code == (200 if method == "DELETE" else 404)
    assert foreign.status_code == unknown.status_code
    assert foreign.text == unknown.text.replace(UNKNOWN, made["id"])
    assert (await alice.get(f"{VS}/{made['id']}")).json()["name"] == "manuals"


async def test_a_list_holds_ones_own_and_the_configured_stores(
    knowledge: Service, alice: httpx.AsyncClient
) -> None:
    mine = await made_store(alice)
    async with knowledge.user(BOB) as bob:
        theirs = await made_store(bob)
        ids = [store["id"] for store in (await bob.get(VS)).json()["data"]]
        assert ids == [theirs["id"], "knowledge"]
        cursor = await bob.get(VS, params={"after": mine["id"]})
        assert cursor.status_code == 404
        await bob.delete(f"{VS}/{theirs['id']}")


async def test_an_administrator_sees_and_removes_the_stores_of_all(
    knowledge: Service, alice: httpx.AsyncClient
) -> None:
    made = await made_store(alice)
    path = f"{VS}/{made['id']}"
    async with knowledge.user(ROOT) as root:
        assert (await root.get(path)).json() == made
        assert [store["id"] for store in await made_by(root)] == [made["id"]]
        assert (await root.delete(path)).json()["deleted"] is True
    assert (await alice.get(path)).status_code == 404


@pytest.mark.parametrize("user_id", [ALICE, ROOT])
async def test_configured_stores_are_read_by_all_and_changed_by_nobody(
    knowledge: Service, user_id: str
) -> None:
    async with knowledge.user(user_id) as client:
        before = (await client.get(f"{VS}/knowledge")).json()
        assert before["name"] == "knowledge"
        assert (await client.get(f"{VS}/knowledge/files")).json()["data"] == []
        uploaded = await uploaded_file(client)
        for method, path, body in (
            ("PUT", "", {"name": "mine"}),
            ("PUT", "", {"expires_at": 1}),
            ("DELETE", "", None),
            ("POST", "/files", {"file_id": uploaded["id"]}),
            ("DELETE", f"/files/{uploaded['id']}", None),
        ):
            answer = await client.request(method, f"{VS}/knowledge{path}", json=body)
            assert error(answer) == (
                403,
                "Vector store is read-only",
                "Vector store knowledge belongs to the configuration of the service; it cannot be changed here.",
            )
        assert (await client.get(f"{VS}/knowledge")).json() == before
        await client.delete(f"/v1/files/{uploaded['id']}")


async def test_a_name_that_is_no_store_is_not_found(alice: httpx.AsyncClient) -> None:
    for name in ("manuals", "..", "a%20b", "%00", "vs_"):
        assert (await alice.get(f"{VS}/{name}x")).status_code == 404
        assert (await alice.put(f"{VS}/{name}x", json={"name": "y"})).status_code == 404
        assert (await alice.delete(f"{VS}/{name}x")).json()["deleted"] is False


async def test_a_store_that_lost_its_owner_is_hidden(knowledge: Service, alice: httpx.AsyncClient) -> None:
    made = await made_store(alice)
    path = f"{VS}/{made['id']}"
    async with owners(knowledge) as rows:
        await rows.remove_store(made["id"])
    async with knowledge.user(BOB) as bob:
        for client in (alice, bob):
            assert (await client.get(path)).status_code == 404
            assert (await client.post(f"{path}/search", json={"query": "x"})).status_code == 404
            assert (await client.delete(path)).json()["deleted"] is False
            assert await made_by(client) == []
            assert made["id"] not in (await client.get("/v1/rags")).json()["rags"]
    async with knowledge.user(ROOT) as root:
        assert [store["id"] for store in await made_by(root)] == [made["id"]]
        assert error(await root.put(path, json={"expires_at": 1}))[0] == 400
        assert (await root.delete(path)).json()["deleted"] is True
        assert await made_by(root) == []


async def test_an_owner_whose_store_was_never_made_sees_none(
    knowledge: Service, alice: httpx.AsyncClient
) -> None:
    async with owners(knowledge) as rows:
        made = await made_store(alice)
        await rows.add_store(OwnedStore(UNKNOWN, ALICE, datetime.now(UTC)))
        assert await made_by(alice) == [made]
        page = (await alice.get(VS, params={"limit": 1})).json()
        assert (page["data"], page["first_id"]) == ([made], made["id"])
        assert UNKNOWN not in (await alice.get("/v1/rags")).json()["rags"]
        assert (await alice.get(f"{VS}/{UNKNOWN}")).status_code == 404
        assert (await alice.put(f"{VS}/{UNKNOWN}", json={"expires_at": 5})).status_code == 404
        assert (await alice.delete(f"{VS}/{UNKNOWN}")).json()["deleted"] is False
        assert await rows.store(UNKNOWN) is None


async def test_one_store_that_cannot_be_looked_at_does_not_cost_the_list(
    knowledge: Service, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = VectorStores.get

    async def fails_for_one(stores: VectorStores, store_id: str) -> VectorStore:
        if store_id == UNKNOWN:
            raise StorageError("Its database is broken.")
        return await look(stores, store_id)

    async with owners(knowledge) as rows:
        made = await made_store(alice)
        await rows.add_store(OwnedStore(UNKNOWN, ALICE, datetime.now(UTC)))
        with monkeypatch.context() as patch:
            patch.setattr(VectorStores, "get", fails_for_one)
            answer = await alice.get("/v1/rags")
            assert answer.status_code == 200
            assert {made["id"], UNKNOWN} <= set(answer.json()["rags"])
        await rows.remove_store(UNKNOWN)


async def test_pages_hold_each_store_once(alice: httpx.AsyncClient) -> None:
    made = [(await made_store(alice, f"store {number}"))["id"] for number in range(5)]
    for order, expected in (("desc", [*made[::-1], "knowledge"]), ("asc", ["knowledge", *made])):
        pages, query = [], {"limit": 2, "order": order}
        while True:
            answer = (await alice.get(VS, params=query)).json()
            ids = [store["id"] for store in answer["data"]]
            assert (answer["first_id"], answer["last_id"]) == (ids[0], ids[-1])
            pages += ids
            if not answer["has_more"]:
                break
            query["after"] = ids[-1]
        assert pages == expected
        back = (await alice.get(VS, params={"limit": 2, "order": order, "before": expected[3]})).json()
        assert [store["id"] for store in back["data"]] == expected[1:3]
        assert back["has_more"] is True


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"order": "up"}, {"limit": "many"}])
async def test_a_page_of_a_wrong_form_is_refused(alice: httpx.AsyncClient, query: dict[str, Any]) -> None:
    answer = await alice.get(VS, params=query)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", next(iter(query))]


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"embedding_model": "scripted/none"}, 400, "scripted/none is not an embedding model."),
        ({"embedding_model": "scripted/scripted"}, 400, "scripted/scripted is not an embedding model."),
        ({"embedding_dimension": 768}, 400, "have 384 dimensions, not 768"),
        ({"provider_id": "chroma"}, 400, "chroma is no provider for new vector stores; there are: faiss"),
        ({"name": ""}, 422, "name"),
        ({"name": "x" * 257}, 422, "name"),
        ({"embedding_dimension": 0}, 422, "embedding_dimension"),
        ({"file_ids": ["file-1"]}, 422, "file_ids"),
        ({"metadata": []}, 422, "metadata"),
        ({"metadata": {"notes": "x" * 70_000}}, 422, "not have more than 65536 bytes"),
        ({"chunking_strategy": {"type": "fixed", "chunk_size": 512}}, 422, "fixed"),
        ({"chunking_strategy": {"type": "static"}}, 422, "static"),
        (
            {"chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 99}}},
            422,
            "max_chunk_size_tokens",
        ),
        (
            {
                "chunking_strategy": {
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 200},
                }
            },
            422,
            "chunk_overlap_tokens must be at most half",
        ),
        (
            {"chunking_strategy": {"type": "contextual", "contextual": {"context_prompt": "Explain."}}},
            422,
            "WHOLE_DOCUMENT",
        ),
    ],
)
async def test_what_does_not_fit_is_refused_and_leaves_nothing(
    knowledge: Service, alice: httpx.AsyncClient, fields: dict[str, Any], status: int, told: str
) -> None:
    answer = await alice.post(VS, json={"name": "manuals", **fields})
    assert answer.status_code == status
    assert told in answer.text
    assert await made_by(alice) == []
    async with owners(knowledge) as rows:
        assert await rows.stores(ALICE) == []


@pytest.mark.parametrize(
    "strategy",
    [
        {"type": "auto"},
        {"type": "static", "static": {"max_chunk_size_tokens": 100}},
        {"type": "contextual", "contextual": {"model_id": "scripted/scripted"}},
    ],
)
async def test_strategies_that_are_accepted(alice: httpx.AsyncClient, strategy: dict[str, Any]) -> None:
    await made_store(alice, chunking_strategy=strategy)


@pytest.mark.parametrize("body", [{}, {"name": None}, {"name": ""}, {"expires_at": 0}, {"colour": "red"}])
async def test_a_change_of_nothing_or_of_a_wrong_form_is_refused(
    alice: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    made = await made_store(alice)
    assert (await alice.put(f"{VS}/{made['id']}", json=body)).status_code == 422


async def test_new_metadata_do_not_cost_the_settings_for_embeddings(alice: httpx.AsyncClient) -> None:
    made = await made_store(alice, metadata={"team": "docs", "embedding_model": "scripted/none"})
    path = f"{VS}/{made['id']}"
    assert made["metadata"]["embedding_model"] == EMBEDDING
    new = {"release": 2, "embedding_dimension": "1"}
    changed = (await alice.put(path, json={"metadata": new})).json()
    assert changed["metadata"] == {
        **{key: value for key, value in made["metadata"].items() if key != "team"},
        "release": 2,
    }
    uploaded = await uploaded_file(alice)
    attached = await alice.post(f"{path}/files", json={"file_id": uploaded["id"]})
    assert attached.json()["status"] == "completed"
    await alice.delete(f"/v1/files/{uploaded['id']}")


async def test_an_expired_store_is_neither_searched_nor_filled(alice: httpx.AsyncClient) -> None:
    path = f"{VS}/{(await made_store(alice))['id']}"
    past = int(time.time()) - 10
    changed = (await alice.put(path, json={"expires_at": past})).json()
    assert (changed["expires_at"], changed["status"]) == (past, "expired")
    assert (await made_by(alice))[0]["status"] == "expired"
    for answer in (
        await alice.post(f"{path}/search", json={"query": "backups"}),
        await alice.post(f"{path}/files", json={"file_id": "file-1"}),
    ):
        assert error(answer)[:2] == (400, "Vector store has expired")
    again = (await alice.put(path, json={"expires_at": past + 1000})).json()
    assert (again["expires_at"], again["status"]) == (past + 1000, "completed")
    assert (await alice.post(f"{path}/search", json={"query": "backups"})).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": []},
        {"query": [" "]},
        {"query": "x" * 50_001},
        {"query": ["x"] * 21},
        {"query": "x", "max_num_results": 51},
        {"query": "x", "ranking_options": {"score_threshold": 2}},
        {"query": "x", "mode": "vector"},
    ],
)
async def test_a_search_of_a_wrong_form_is_refused(alice: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await alice.post(f"{VS}/knowledge/search", json=body)).status_code == 422


@pytest.mark.parametrize("filters", [{"type": "like", "key": "a", "value": "b"}, {"type": "and"}])
async def test_a_filter_that_is_wrong_is_refused(
    request: pytest.FixtureRequest, alice: httpx.AsyncClient, filters: dict[str, Any]
) -> None:
    answer = await alice.post(f"{VS}/knowledge/search", json={"query": "x", "filters": filters})
    if request.node.callspec.params["knowledge"] is stock:
        # It logs what is wrong and finds nothing.
        assert answer.json()["data"] == []
    else:
        assert error(answer)[:2] == (400, "Bad request")
        assert "filter" in error(answer)[2]


async def test_thirty_at_once(knowledge: Service, alice: httpx.AsyncClient) -> None:
    async with knowledge.user(BOB) as bob:
        clients = (alice, bob)
        made = await asyncio.gather(*(made_store(clients[number % 2], f"s{number}") for number in range(30)))
        for side, client in enumerate(clients):
            assert {store["id"] for store in await made_by(client)} == {
                store["id"] for store in made[side::2]
            }
        # Each is deleted by its owner twice, by the other user once, and listed meanwhile.
        await asyncio.gather(
            *(
                clients[(number + turn) % 2].delete(f"{VS}/{store['id']}")
                for number, store in enumerate(made)
                for turn in (0, 1, 2)
            ),
            *(client.get(VS) for client in clients for _ in range(5)),
        )
        for client in clients:
            assert await made_by(client) == []
    async with owners(knowledge) as rows:
        assert await rows.stores(None) == []


async def test_who_may_do_nothing_is_refused(knowledge: Service) -> None:
    async with knowledge.user(NOBODY) as nobody:
        for method, path, body in (
            ("GET", VS, None),
            ("POST", VS, {"name": "x"}),
            ("GET", "/v1/rags", None),
            ("GET", "/v1/files", None),
            ("POST", "/v1/files", None),
        ):
            assert (await nobody.request(method, path, json=body)).status_code == 403


async def test_while_the_stack_starts_there_is_a_time_to_ask_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTSPEED_STATE", str(tmp_path))
    with ScriptedModel() as model:
        app = create_app(await to_thread.run_sync(plan, tmp_path, model))
        async with LifespanManager(app, startup_timeout=30, shutdown_timeout=30) as manager:
            transport = httpx.ASGITransport(manager.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                for path in (VS, f"{VS}/knowledge", f"{VS}/knowledge/files", "/v1/rags", "/v1/files"):
                    answer = await client.get(path)
                    assert answer.status_code == 503
                    assert answer.headers["retry-after"] == "2"


async def test_what_one_process_makes_another_knows_at_once(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        run = own(tmp_path, model)
        async with (
            knowledge_service(tmp_path, model, run) as first,
            knowledge_service(tmp_path, model, run) as second,
            first.user(ALICE) as here,
            second.user(ALICE) as there,
            second.user(BOB) as bob,
        ):
            made = await made_store(here)
            path = f"{VS}/{made['id']}"
            assert (await there.get(path)).json() == made
            assert await made_by(there) == [made]
            assert (await bob.get(path)).status_code == 404
            uploaded = await uploaded_file(there)
            attached = await here.post(f"{path}/files", json={"file_id": uploaded["id"]})
            assert attached.json()["status"] == "completed"
            assert (await there.get(f"{path}/files")).json()["data"] == [attached.json()]
            found = (await there.post(f"{path}/search", json={"query": "When do backups run?"})).json()
            assert [hit["file_id"] for hit in found["data"]] == [uploaded["id"]]
            assert (await here.delete(path)).json()["deleted"] is True
            assert (await there.get(path)).status_code == 404
            assert await made_by(there) == []

            many = await asyncio.gather(*(made_store((here, there)[n % 2], f"s{n}") for n in range(20)))
            assert {store["id"] for store in await made_by(there)} == {store["id"] for store in many}
            await asyncio.gather(
                *(client.delete(f"{VS}/{store['id']}") for store in many for client in (here, there))
            )
            for client in (here, there):
                assert await made_by(client) == []


async def test_stores_and_files_are_there_after_a_restart(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        run = own(tmp_path, model)
        async with knowledge_service(tmp_path, model, run) as service, service.user(ALICE) as alice:
            made = await made_store(alice)
            uploaded = await uploaded_file(alice)
            await alice.put(f"{VS}/{made['id']}", json={"expires_at": 2**37})
        async with knowledge_service(tmp_path, model, run) as service, service.user(ALICE) as alice:
            assert (await alice.get("/v1/files")).json()["data"] == [uploaded]
            again = (await alice.get(f"{VS}/{made['id']}")).json()
            assert (again["name"], again["expires_at"]) == (made["name"], 2**37)
            async with service.user(BOB) as bob:
                assert await made_by(bob) == []
