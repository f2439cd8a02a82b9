"""Uploaded files through the API: whose they are, and what the stack says of them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from blockbuster import BlockBuster

from tests.api.conftest import ROOT, Service, running
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

UNKNOWN = "file-00000000000000000000000000000000"
BACKUPS = b"Backups of the Acme database run every night at two."
LIMITS = b"A cluster has eleven nodes at most."


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
    """A user without any files or stores."""
    async with knowledge.user(ALICE) as client:
        yield client
        for file in await made_by(client):
            await client.delete(f"/v1/files/{file['id']}")
        for store in (await client.get(VS)).json()["data"]:
            await client.delete(f"{VS}/{store['id']}")


async def made_by(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/v1/files", params={"limit": 100})).json()["data"]
    return found


def kept(service: Service) -> set[str]:
    """The ids of the files that the stack keeps."""
    return {file.name.split(".")[0] for file in (service.state / "stack" / "files").iterdir()}


async def test_the_life_of_a_file(knowledge: Service, alice: httpx.AsyncClient) -> None:
    uploaded = await uploaded_file(alice, BACKUPS, "../manual")
    path = f"/v1/files/{uploaded['id']}"
    assert uploaded == {
        "id": uploaded["id"],
        "filename": "manual.txt",
        "bytes": len(BACKUPS),
        "created_at": uploaded["created_at"],
        "purpose": "assistants",
        "object": "file",
    }
    assert (await alice.get(path)).json() == uploaded
    assert await made_by(alice) == [uploaded]
    assert kept(knowledge) == {uploaded["id"]}
    gone = {"deleted": True, "file_id": uploaded["id"], "response": "File deleted successfully"}
    assert (await alice.delete(path)).json() == gone
    assert (await alice.delete(path)).json() == gone | {"deleted": False, "response": "File not found"}
    assert error(await alice.get(path)) == (
        404,
        "File not found",
        f"File with ID {uploaded['id']} does not exist",
    )
    assert kept(knowledge) == set()


async def test_the_file_of_another_user_is_as_one_that_is_not_there(
    knowledge: Service, alice: httpx.AsyncClient
) -> None:
    uploaded = await uploaded_file(alice)
    async with knowledge.user(BOB) as bob:
        assert await made_by(bob) == []
        for method in ("GET", "DELETE"):
            foreign = await bob.request(method, f"/v1/files/{uploaded['id']}")
            unknown = await bob.request(method, f"/v1/files/{UNKNOWN}")
            assert foreign.status_code == unknown.status_code
            assert foreign.text == unknown.text.replace(UNKNOWN, uploaded["id"])
        assert (await bob.get("/v1/files", params={"after": uploaded["id"]})).status_code == 404
        store = await made_store(bob)
        answers = []
        for file_id in (uploaded["id"], UNKNOWN):
            attached = await bob.post(f"{VS}/{store['id']}/files", json={"file_id": file_id})
            assert attached.status_code == 200
            answers.append(attached.text.replace(file_id, "ID"))
            assert attached.json() == {
                "id": file_id,
                "vector_store_id": store["id"],
                "status": "failed",
                "attributes": {},
                "last_error": f"File with ID {file_id} does not exist",
                "object": "vector_store.file",
                "progress": None,
            }
        assert answers[0] == answers[1]
        assert (await bob.get(f"{VS}/{store['id']}/files")).json()["data"] == []
        await bob.delete(f"{VS}/{store['id']}")
    async with knowledge.user(ROOT) as root:
        assert await made_by(root) == [uploaded]
        assert (await root.get(f"/v1/files/{uploaded['id']}")).json() == uploaded


async def test_pages_hold_each_file_once(alice: httpx.AsyncClient) -> None:
    made = [(await uploaded_file(alice, name=f"{number}.txt"))["id"] for number in range(5)]
    pages, query = [], {"limit": 2}
    while True:
        answer = (await alice.get("/v1/files", params=query)).json()
        pages += [file["id"] for file in answer["data"]]
        if not answer["has_more"]:
            break
        query["after"] = answer["last_id"]
    assert pages == made[::-1]
    back = (await alice.get("/v1/files", params={"limit": 2, "order": "asc", "before": made[4]})).json()
    assert [file["id"] for file in back["data"]] == made[2:4]
    assert (back["has_more"], back["first_id"], back["last_id"]) == (True, made[2], made[3])


async def test_an_attached_file_is_found(alice: httpx.AsyncClient) -> None:
    store = f"{VS}/{(await made_store(alice))['id']}"
    backups = await uploaded_file(alice, BACKUPS, "backups.txt")
    limits = await uploaded_file(alice, LIMITS, "limits.txt")
    attributes = {"product": "acme", "release": 2, "draft": False}
    for file in (backups, limits):
        attached = (
            await alice.post(f"{store}/files", json={"file_id": file["id"], "attributes": attributes})
        ).json()
        assert attached == {
            "id": file["id"],
            "vector_store_id": store.removeprefix(f"{VS}/"),
            "status": "completed",
            "attributes": attributes,
            "last_error": None,
            "object": "vector_store.file",
            # The stock provider does not tell.
            "progress": attached["progress"] and {"done": 1, "total": 1},
        }
        assert (await alice.get(f"{store}/files/{file['id']}")).json() == attached
    for cursor in ("after", "before"):
        for path, resource in ((f"{store}/files", "File"), ("/v1/files", "File"), (VS, "Vector Store")):
            assert error(await alice.get(path, params={cursor: UNKNOWN}))[:2] == (
                404,
                f"{resource} not found",
            )
            assert len((await alice.get(path, params={cursor: ""})).json()["data"]) == 2
    listed = (await alice.get(f"{store}/files", params={"filter": "completed"})).json()
    assert {file["id"] for file in listed["data"]} == {backups["id"], limits["id"]}
    one = (await alice.get(f"{store}/files", params={"limit": 1})).json()
    assert (len(one["data"]), one["has_more"], one["last_id"]) == (1, True, one["data"][0]["id"])

    query = {"query": "When do backups of the database run?", "max_num_results": 1}
    found = (await alice.post(f"{store}/search", json=query)).json()
    assert found["search_query"] == [query["query"]]
    (hit,) = found["data"]
    assert (hit["file_id"], hit["filename"]) == (backups["id"], "backups.txt")
    assert BACKUPS.decode() in hit["content"][0]["text"]
    assert attributes.items() <= hit["attributes"].items()
    # The words of the passage itself: the stock provider calls that infinite.
    (exact,) = (await alice.post(f"{store}/search", json=query | {"query": LIMITS.decode()})).json()["data"]
    assert exact["filename"] == "limits.txt"
    assert exact["score"] is not None

    removed = await alice.delete(f"{store}/files/{backups['id']}")
    assert removed.json() == {
        "deleted": True,
        "file_id": backups["id"],
        "response": "Vector store file deleted successfully",
    }
    assert (await alice.delete(f"{store}/files/{backups['id']}")).json() == {
        "deleted": False,
        "file_id": backups["id"],
        "response": "Vector store file not found",
    }
    assert error(await alice.get(f"{store}/files/{backups['id']}")) == (
        404,
        "File not found",
        f"File with ID {backups['id']} does not exist",
    )
    # The file itself is still there, and may be read again.
    assert (await alice.get(f"/v1/files/{backups['id']}")).json() == backups
    again = (await alice.post(f"{store}/files", json={"file_id": backups["id"]})).json()
    assert again["status"] == "completed"


async def test_what_was_read_from_a_deleted_file_stays(alice: httpx.AsyncClient) -> None:
    store = f"{VS}/{(await made_store(alice))['id']}"
    uploaded = await uploaded_file(alice, BACKUPS)
    attach = {"file_id": uploaded["id"]}
    attached = (await alice.post(f"{store}/files", json=attach)).json()
    await alice.delete(f"/v1/files/{uploaded['id']}")
    assert (await alice.get(f"{store}/files/{uploaded['id']}")).json() == attached
    assert (await alice.post(f"{store}/files", json=attach)).json() == attached
    assert len((await alice.post(f"{store}/search", json={"query": "backups"})).json()["data"]) == 1


async def test_a_file_that_cannot_be_read_says_why(alice: httpx.AsyncClient) -> None:
    store = f"{VS}/{(await made_store(alice))['id']}"
    uploaded = await uploaded_file(alice, b"%PDF-1.4 nonsense", "broken.pdf")
    attached = (await alice.post(f"{store}/files", json={"file_id": uploaded["id"]})).json()
    assert attached["status"] == "failed"
    assert attached["last_error"]
    assert (await alice.get(f"{store}/files/{uploaded['id']}")).json()["status"] == "failed"


async def test_names_of_what_is_not_found(alice: httpx.AsyncClient) -> None:
    gone = "vs_00000000-0000-4000-8000-000000000000"
    uploaded = await uploaded_file(alice)
    assert error(await alice.post(f"{VS}/{gone}/files", json={"file_id": uploaded["id"]})) == (
        404,
        "Vector_Store_Or_File not found",
        f"Vector_Store_Or_File with ID {gone} does not exist",
    )
    assert error(await alice.get(f"{VS}/{gone}/files"))[:2] == (404, "Vector_Store not found")
    assert error(await alice.get(f"{VS}/{gone}/files/{UNKNOWN}"))[:2] == (404, "File not found")
    for cursor in ("after", "before"):
        answer = await alice.get(f"{VS}/nobodys/files", params={cursor: UNKNOWN})
        assert error(answer)[:2] == (404, "Vector_Store not found")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"file_id": ""}, "file_id"),
        ({"attributes": {f"key{number}": 1 for number in range(17)}}, "attributes"),
        ({"attributes": {"k" * 65: 1}}, "attributes"),
        ({"attributes": {"key": "v" * 513}}, "attributes"),
        ({"attributes": {"key": None}}, "attributes"),
        ({"attributes": {"key": [1]}}, "attributes"),
        ({"attributes": {"key": 10**400}}, "attributes"),
        ({"chunking_strategy": {"type": "fixed"}}, "chunking_strategy"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_an_attachment_of_a_wrong_form_is_refused(
    alice: httpx.AsyncClient, fields: dict[str, Any], place: str
) -> None:
    store = await made_store(alice)
    answer = await alice.post(f"{VS}/{store['id']}/files", json={"file_id": UNKNOWN, **fields})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:2] == ["body", place]


async def test_a_file_that_the_database_does_not_take_is_not_kept(
    knowledge: Service, alice: httpx.AsyncClient
) -> None:
    async with owners(knowledge) as rows:
        await rows._database.write(
            lambda connection: (
                connection.exec_driver_sql(
                    "CREATE TRIGGER refuse BEFORE INSERT ON lightspeed_files BEGIN SELECT RAISE(ABORT, 'full'); END"
                )
                and None
            )
        )
        answer = await alice.post("/v1/files", files={"file": ("a.txt", b"text")})
        await rows._database.write(
            lambda connection: connection.exec_driver_sql("DROP TRIGGER refuse") and None
        )
    assert error(answer)[:2] == (500, "Database query failed")
    assert kept(knowledge) == set()
    assert await made_by(alice) == []


async def test_a_file_that_takes_long_is_asked_for_again(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        run = own(tmp_path, model, attach_wait_seconds=0)
        async with knowledge_service(tmp_path, model, run) as service, service.user(ALICE) as alice:
            files = f"{VS}/{(await made_store(alice))['id']}/files"
            uploaded = await uploaded_file(alice, b"# Backups\n\nThey run every night.\n" * 200, "a.md")
            attached = (await alice.post(files, json={"file_id": uploaded["id"]})).json()
            assert attached["status"] == "in_progress"
            with anyio.fail_after(30):
                while attached["status"] == "in_progress":
                    await anyio.sleep(0.02)
                    attached = (await alice.get(f"{files}/{uploaded['id']}")).json()
            assert (attached["status"], attached["last_error"]) == ("completed", None)
            assert attached["progress"]["done"] == attached["progress"]["total"] > 1


async def test_without_the_parts_of_the_stack_the_answer_names_them(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        async with running(tmp_path, model) as service:
            answer = await service.client.post("/v1/files", files={"file": ("a.txt", b"text")})
            assert error(answer)[:2] == (503, "Files are not available")
            assert "`providers.files`" in error(answer)[2]
            answer = await service.client.post(VS, json={"name": "manuals"})
            assert error(answer)[:2] == (503, "Vector stores are not available")
            assert "`providers.vector_io`" in error(answer)[2]
            assert (await service.client.get(VS)).json()["data"] == []
            assert (await service.client.get("/v1/rags")).json()["rags"] == []
            assert (await service.client.get("/v1/files")).json()["data"] == []
