"""A second user can neither see nor continue nor change nor delete what is the first one's, by any route."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from blockbuster import BlockBuster

from lightspeed.app import ENDPOINTS
from tests.api.conftest import Service
from tests.api.knowledge import allow_the_stock_providers, knowledge_service, made_store, own, uploaded_file
from tests.api.test_streaming_query import streaming
from tests.mcp_servers import mcp_server, tool
from tests.scripted_model import Reply, ScriptedModel, ToolCall

pytestmark = pytest.mark.anyio

MARK = "zebrafish"  # stands in all that is Ann's
KEYS = {
    "module": "api-key-token",
    "skip_for_health_probes": True,
    "api_key_config": {
        "keys": [
            {"name": "ann", "key": "key-of-ann"},
            {"name": "bob", "key": "key-of-bob"},
        ]
    },
}

# What a request needs, so that it fails for no other reason than whose it is.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/v1/conversations/{conversation_id}"): {"topic_summary": "taken"},
    ("PUT", "/v2/conversations/{conversation_id}"): {"topic_summary": "taken"},
    ("PUT", "/v1/vector-stores/{vector_store_id}"): {"name": "taken"},
    ("POST", "/v1/approvals/{approval_id}"): {"approve": True},
    ("PUT", "/v1/vector-stores/{vector_store_id}/files/{file_id}"): {"attributes": {"a": "b"}},
}
# Routes whose path names nothing of a user's.
NOBODYS = {"provider_id", "prompt_id", "rag_id"}


@dataclass(frozen=True)
class Belongings:
    """The ids of what Ann has, by the name of the parameter in a path."""

    ids: dict[str, str]


@pytest.fixture(autouse=True)
def stock_providers(no_blocking_calls: BlockBuster) -> None:
    allow_the_stock_providers(no_blocking_calls)


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    state = tmp_path_factory.mktemp("state")
    with ScriptedModel() as model:
        model.default(Reply("A scripted answer."))
        run = own(state, model)
        with mcp_server(tools=[tool("erase")]) as server:
            sections = {
                "authentication": KEYS,
                "mcp_servers": [{"name": "ops", "url": server.url, "require_approval": "always"}],
                "mcp_registration": {"enabled": True, "allowed_hosts": ["mcp.example"]},
            }
            async with knowledge_service(state, model, run, **sections) as service:
                yield service


@asynccontextmanager
async def user(service: Service, name: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer key-of-{name}"}
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers) as client:
        yield client


@pytest.fixture
async def ann(shared: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with user(shared, "ann") as client:
        yield client


@pytest.fixture
async def bob(shared: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with user(shared, "bob") as client:
        yield client


@pytest.fixture
async def belongings(shared: Service, ann: httpx.AsyncClient) -> Belongings:
    asked = await ann.post("/v1/query", json={"query": f"What does a {MARK} eat?"})
    assert asked.status_code == 200, asked.text
    store = await made_store(ann, f"{MARK} notes")
    file = await uploaded_file(ann, f"The {MARK} eats worms.".encode(), f"{MARK}.txt")
    path = f"/v1/vector-stores/{store['id']}"
    attached = await ann.post(f"{path}/files", json={"file_id": file["id"]})
    assert attached.status_code == 200, attached.text
    saved = await ann.post(
        "/v1/saved-prompts",
        json={"name": f"{MARK} {asked.json()['conversation_id']}", "content": f"Tell of the {MARK}."},
    )
    assert saved.status_code == 201, saved.text
    name = f"of-ann-{asked.json()['conversation_id']}"
    server = await ann.post("/v1/mcp-servers", json={"name": name, "url": f"https://mcp.example/{MARK}"})
    if server.status_code == 422:
        # There may be so many of one user only.
        for entry in (await ann.get("/v1/mcp-servers")).json()["servers"]:
            if entry["source"] == "api":
                await ann.delete(f"/v1/mcp-servers/{entry['name']}")
        server = await ann.post("/v1/mcp-servers", json={"name": name, "url": f"https://mcp.example/{MARK}"})
    assert server.status_code == 201, server.text
    shared.model.queue(Reply(tool_calls=[ToolCall("erase", {"text": MARK})]))
    waiting = await ann.post("/v1/query", json={"query": f"Erase the {MARK}."})
    required = waiting.json()["required_action"]
    return Belongings(
        {
            "conversation_id": asked.json()["conversation_id"],
            "vector_store_id": store["id"],
            "file_id": file["id"],
            "saved_prompt_id": saved.json()["id"],
            "name": name,
            "request_id": required["request_id"],
            "approval_id": required["approvals"][0]["id"],
        }
    )


def parameters(path: str) -> set[str]:
    return {part[1:-1] for part in path.split("/") if part.startswith("{")}


async def seen_by_ann(ann: httpx.AsyncClient, ids: dict[str, str]) -> list[Any]:
    """All that Ann can read of what is hers."""
    paths = [
        f"/v1/conversations/{ids['conversation_id']}",
        f"/v1/vector-stores/{ids['vector_store_id']}",
        f"/v1/vector-stores/{ids['vector_store_id']}/files",
        f"/v1/files/{ids['file_id']}",
        "/v1/conversations",
        "/v1/saved-prompts",
        "/v1/rags",
        "/v1/mcp-servers",
        "/v1/approvals",
        f"/v1/approvals/{ids['approval_id']}",
    ]
    answers = [await ann.get(path) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.json() for answer in answers]


ROUTES = [
    endpoint
    for endpoint in ENDPOINTS
    if parameters(endpoint.path) and not parameters(endpoint.path) & NOBODYS
]


@pytest.mark.parametrize("endpoint", ROUTES, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
async def test_by_its_id(
    endpoint: Any, ann: httpx.AsyncClient, bob: httpx.AsyncClient, belongings: Belongings
) -> None:
    ids = belongings.ids
    unknown = parameters(endpoint.path) - ids.keys()
    before = await seen_by_ann(ann, ids)
    path = endpoint.path
    for name, value in ids.items():
        path = path.replace(f"{{{name}}}", value)
    for name in unknown:
        # What is made within Ann's store or turn is named by something that cannot be there: the way is shut before.
        path = path.replace(f"{{{name}}}", "00000000-0000-4000-8000-000000000000")
    body = BODIES.get((endpoint.method, endpoint.path), {})
    answer = await bob.request(endpoint.method, path, json=body)
    if answer.status_code == 200:
        told = answer.json()
        assert endpoint.method == "DELETE"
        assert told.get("deleted") is False or told.get("success") is False
    else:
        assert answer.status_code in {403, 404, 422}, answer.text
    assert MARK not in answer.text
    assert await seen_by_ann(ann, ids) == before


@pytest.mark.parametrize(
    "endpoint",
    [endpoint for endpoint in ENDPOINTS if endpoint.method == "GET" and not parameters(endpoint.path)],
    ids=lambda endpoint: endpoint.path,
)
async def test_in_what_is_listed(endpoint: Any, bob: httpx.AsyncClient, belongings: Belongings) -> None:
    text = (await bob.get(endpoint.path)).text
    assert MARK not in text
    assert [name for name, identifier in belongings.ids.items() if identifier in text] == []


async def test_by_asking(
    shared: Service, ann: httpx.AsyncClient, bob: httpx.AsyncClient, belongings: Belongings
) -> None:
    ids = belongings.ids
    before = await seen_by_ann(ann, ids)
    for path in ("/v1/query", "/v1/streaming_query"):
        answer = await bob.post(path, json={"query": "And then?", "conversation_id": ids["conversation_id"]})
        assert answer.status_code == 403, answer.text
        asked = {"query": f"What does a {MARK} eat?", "vector_store_ids": [ids["vector_store_id"]]}
        answer = await bob.post(path, json=asked)
        assert answer.status_code in {200, 404}
        assert "worms" not in answer.text
        assert "worms" not in json.dumps(shared.model.chats[-1].body)
    assert await seen_by_ann(ann, ids) == before


async def test_by_putting_it_into_ones_own(
    shared: Service, ann: httpx.AsyncClient, bob: httpx.AsyncClient, belongings: Belongings
) -> None:
    """As with a file that is not there."""
    store, file = await made_store(bob, "bob's"), belongings.ids["file_id"]
    path = f"/v1/vector-stores/{store['id']}"
    for route, body in (("files", {"file_id": file}), ("file_batches", {"file_ids": [file]})):
        answer = await bob.post(f"{path}/{route}", json=body)
        assert answer.status_code in {200, 404, 405}, answer.text
        if answer.status_code == 200:
            assert answer.json()["status"] == "failed"
            assert answer.json()["last_error"] == f"File with ID {file} does not exist"
    asked = await bob.post(
        "/v1/query", json={"query": f"What does a {MARK} eat?", "vector_store_ids": [store["id"]]}
    )
    assert "worms" not in asked.text


async def test_prompts_are_read_by_all_and_changed_by_their_author(
    ann: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    path = f"/v1/prompts/{(await ann.post('/v1/prompts', json={'prompt': 'Be kind.'})).json()['prompt_id']}"
    assert (await bob.get(path)).json()["prompt"] == "Be kind."
    change = {"prompt": "Be rude.", "version": 1}
    refused = [
        await bob.put(path, json=change),
        await bob.put(f"{path}/default-version", json={"version": 1}),
        await bob.delete(path),
    ]
    assert [answer.status_code for answer in refused] == [403, 403, 403]
    assert (await ann.put(path, json=change | {"prompt": "Be kinder."})).status_code == 200
    assert (await bob.get(path)).json()["prompt"] == "Be kinder."
    assert (await ann.delete(path)).json()["deleted"] is True


async def test_a_running_answer(shared: Service, ann: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    shared.model.queue(Reply("one two three", hang_at=1))
    async with streaming(shared, authorization="Bearer key-of-ann") as stream:
        await stream.reads('"one"')
        body = {"request_id": stream.request_id}
        refused = await bob.post("/v1/streaming_query/interrupt", json=body)
        assert refused.status_code == 403
        stopped = await ann.post("/v1/streaming_query/interrupt", json=body)
        assert stopped.json()["interrupted"] is True
