"""What needs no credentials, if the configuration says so: probes and metrics, by their exact paths."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from anyio import to_thread
from starlette.applications import Starlette
from starlette.responses import Response

from lightspeed.api.endpoint import Call
from lightspeed.api.errors import exception_handlers
from lightspeed.api.gates import Gates
from lightspeed.api.middleware import middleware
from lightspeed.api.routing import routes
from lightspeed.app import ENDPOINTS
from lightspeed.configuration.root import Configuration
from lightspeed.identity.modules import authentication
from lightspeed.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

KEY = {"module": "api-key-token", "api_key_config": {"api_key": "secret"}}
OPEN = {"skip_for_health_probes": True, "skip_for_metrics": True}


async def reached(call: Call) -> Response:
    return Response()


async def configured(given: dict[str, Any], **sections: Any) -> Configuration:
    stack = {"url": "http://127.0.0.1:8321"}
    document = {"name": "n", "service": {}, "llama_stack": stack, "user_data_collection": {}}
    return await to_thread.run_sync(
        Configuration.model_validate, document | {"authentication": given} | sections
    )


def application(configuration: Configuration, root_path: str = "") -> httpx.AsyncClient:
    """All routes behind the gates of a configuration; handlers tell who has asked."""
    bare = [
        replace(endpoint, handler=reached, request=None, query=None, response=None, precondition=None)
        for endpoint in ENDPOINTS
    ]
    gates = Gates.configured(
        configuration, authentication(configuration.authentication), lambda request: None
    )
    app = Starlette(
        routes=routes(bare, gates),
        middleware=middleware(Metrics(), root_path=root_path),
        exception_handlers=exception_handlers(),
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


PROBES = [("GET", "/liveness"), ("HEAD", "/readiness"), ("GET", "/metrics")]


@pytest.mark.parametrize("root_path", ["", "/ls"])
@pytest.mark.parametrize(("method", "path"), PROBES)
async def test_probes_need_no_credentials(method: str, path: str, root_path: str) -> None:
    async with application(await configured(KEY | OPEN), root_path) as client:
        assert (await client.request(method, root_path + path)).status_code == 200
        assert (await client.request(method, path)).status_code == 200
    async with application(await configured(KEY), root_path) as client:
        assert (await client.request(method, root_path + path)).status_code == 401


async def test_each_switch_opens_its_own() -> None:
    async with application(await configured(KEY | {"skip_for_metrics": True})) as client:
        assert [(await client.get(path)).status_code for _, path in PROBES] == [401, 401, 200]
    async with application(await configured(KEY | {"skip_for_health_probes": True})) as client:
        assert [(await client.get(path)).status_code for _, path in PROBES] == [200, 200, 401]


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer wrong")],
        [("Authorization", "wrong")],
        [("Authorization", ""), ("Authorization", "Bearer wrong")],
        [("Authorization", "Bearer wrong"), ("Authorization", "")],
    ],
)
async def test_credentials_that_are_there_are_checked(headers: list[tuple[str, str]]) -> None:
    async with application(await configured(KEY | OPEN)) as client:
        for method, path in PROBES:
            assert (await client.request(method, path, headers=headers)).status_code == 401
            assert (await client.request(method, path, headers={"Authorization": ""})).status_code == 200


async def test_no_other_route_is_open() -> None:
    async with application(await configured(KEY | OPEN), "/ls") as client:
        opened = {
            endpoint.path
            for endpoint in ENDPOINTS
            for prefix in ("", "/ls")
            if (await client.request(endpoint.method, prefix + endpoint.path.replace("{", "").replace("}", "")))
            .status_code != 401
        }  # fmt: skip
        assert opened == {"/liveness", "/readiness", "/metrics", "/v1/feedback/status"}
        for method, path in [
            ("DELETE", "/v1/mcp-servers/metrics"),
            ("GET", "/v1/providers/readiness"),
            ("GET", "/v1/conversations/liveness"),
        ]:
            assert (await client.request(method, path)).status_code == 401


async def test_rules_hold_for_those_without_credentials_too() -> None:
    rules = {"access_rules": [{"role": "*", "actions": ["get_metrics"]}]}
    async with application(await configured(KEY | OPEN, authorization=rules)) as client:
        refused = await client.get("/liveness")
        assert refused.status_code == 403
        assert refused.json()["detail"]["cause"] == (
            "User 00000000-0000-0000-0000-000 is not authorized to access this endpoint."
        )
        assert (await client.get("/metrics")).status_code == 200


async def test_a_token_that_is_not_checked_is_needed_all_the_same() -> None:
    async with application(await configured({"module": "noop-with-token"} | OPEN)) as client:
        assert [(await client.get(path)).status_code for _, path in PROBES] == [401] * 3
