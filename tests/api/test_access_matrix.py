"""Each route by each action: who holds the route's action may call it, and nobody else."""

from dataclasses import replace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from lightspeed.api.endpoint import Access, Call, Endpoint
from lightspeed.api.errors import exception_handlers
from lightspeed.api.gates import Gates
from lightspeed.api.routing import routes
from lightspeed.app import ENDPOINTS
from lightspeed.identity.access import AccessRules, without_rules
from lightspeed.identity.actions import Action
from lightspeed.identity.principal import Principal

pytestmark = pytest.mark.anyio

# What no route is guarded by: rights within a route, and actions of routes that are still to come.
WITHIN_ROUTES = {action for action in Action if "_other_" in action.value} | {Action.MODEL_OVERRIDE}
STILL_TO_COME = {
    Action.RESPONSES,
    Action.RLSAPI_V1_INFER,
    Action.A2A_AGENT_CARD,
    Action.A2A_TASK_EXECUTION,
    Action.A2A_MESSAGE,
    Action.A2A_JSONRPC,
}
EXPECTED = """
POST /authorized                                                  authenticated
GET /metrics                                                      get_metrics
GET /liveness                                                     info
GET /readiness                                                    info
GET /                                                             info
GET /v1/info                                                      info
GET /v1/config                                                    get_config
GET /v1/models                                                    get_models
GET /v1/shields                                                   get_shields
GET /v1/tools                                                     get_tools
GET /v1/providers                                                 list_providers
GET /v1/providers/{provider_id}                                   get_provider
GET /v1/rags                                                      list_rags
GET /v1/rags/{rag_id}                                             get_rag
POST /v1/query                                                    query
POST /v1/streaming_query                                          streaming_query
POST /v1/streaming_query/interrupt                                streaming_query
GET /v1/conversations                                             list_conversations
GET /v1/conversations/{conversation_id}                           get_conversation
PUT /v1/conversations/{conversation_id}                           update_conversation
DELETE /v1/conversations/{conversation_id}                        delete_conversation
GET /v2/conversations                                             list_conversations
GET /v2/conversations/{conversation_id}                           get_conversation
PUT /v2/conversations/{conversation_id}                           update_conversation
DELETE /v2/conversations/{conversation_id}                        delete_conversation
POST /v1/feedback                                                 feedback
GET /v1/feedback/status                                           public
PUT /v1/feedback/status                                           admin
"""


class Anyone:
    credentials: str | None = None

    async def __call__(self, request: Request) -> Principal:
        role = request.headers["x-role"]
        return Principal(role, role, roles=frozenset({"*", role}))

    async def close(self) -> None:
        pass


async def reached(call: Call) -> Response:
    return Response(status_code=204)


def application(*, with_rules: bool) -> httpx.AsyncClient:
    """All routes, with handlers that only say that they have been reached. Each role has the action of its name."""
    rules = AccessRules({action.value: frozenset({action}) for action in Action})
    bare = [
        replace(endpoint, handler=reached, request=None, query=None, response=None, precondition=None)
        for endpoint in ENDPOINTS
    ]
    gates = Gates(Anyone(), rules if with_rules else without_rules, lambda request: None)
    app = Starlette(routes=routes(bare, gates), exception_handlers=exception_handlers())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


def names(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path} {endpoint.action.value}"


def path(endpoint: Endpoint) -> str:
    return endpoint.path.replace("{", "").replace("}", "")


def test_every_route_has_the_action_that_the_contract_gives_it() -> None:
    declared = {names(endpoint) for endpoint in ENDPOINTS}
    expected = {" ".join(line.split()) for line in EXPECTED.strip().splitlines()}
    assert expected - declared == set()
    without_action = {
        f"{endpoint.method} {endpoint.path}"
        for endpoint in ENDPOINTS
        if not isinstance(endpoint.action, Action)
    }
    assert without_action == {"POST /authorized", "GET /v1/feedback/status"}


def test_every_action_guards_something() -> None:
    guarding = {endpoint.action for endpoint in ENDPOINTS}
    assert set(Action) - guarding == WITHIN_ROUTES | STILL_TO_COME


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=names)
async def test_route_by_role(endpoint: Endpoint) -> None:
    open_to_all = isinstance(endpoint.action, Access)
    async with application(with_rules=True) as client:
        for role in (*Action, "somebody"):
            answer = await client.request(endpoint.method, path(endpoint), headers={"x-role": role})
            allowed = open_to_all or role in (endpoint.action.value, Action.ADMIN)
            assert answer.status_code == (204 if allowed else 403), role
    async with application(with_rules=False) as client:
        answer = await client.request(endpoint.method, path(endpoint), headers={"x-role": "somebody"})
        assert answer.status_code == (403 if endpoint.action is Action.ADMIN else 204)
