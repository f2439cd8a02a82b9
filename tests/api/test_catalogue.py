"""What the service tells of itself: configuration, providers, tools, shields, and who is asking."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lightspeed.app import ENDPOINTS
from lightspeed.configuration.masking import MASK
from tests.api.conftest import NOBODY, Service, running
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.anyio


async def test_the_configuration_without_secrets(service: Service) -> None:
    configuration = (await service.client.get("/v1/config")).json()["configuration"]
    assert configuration["name"] == "Test service"
    assert configuration["inference"]["default_model"] == "scripted"
    assert list(configuration)[:4] == ["name", "service", "llama_stack", "user_data_collection"]
    assert "sk-scripted-key" not in json.dumps(configuration)


async def test_providers_by_api(service: Service) -> None:
    assert (await service.client.get("/v1/providers")).json() == {
        "providers": {"inference": [{"provider_id": "scripted", "provider_type": "remote::openai"}]}
    }


async def test_one_provider_with_its_health(service: Service) -> None:
    answer = await service.client.get("/v1/providers/scripted")
    assert answer.json() == {
        "api": "inference",
        "config": {"api_key": MASK, "base_url": service.model.base_url},
        "health": {"status": "OK", "message": None},
        "provider_id": "scripted",
        "provider_type": "remote::openai",
    }


async def test_a_provider_that_is_not_there(service: Service) -> None:
    answer = await service.client.get("/v1/providers/nobody")
    assert answer.status_code == 404
    assert answer.json() == {
        "detail": {
            "response": "Provider not found",
            "cause": "Provider with ID nobody does not exist",
        }
    }


async def test_nothing_to_show(service: Service) -> None:
    assert (await service.client.get("/v1/shields")).json() == {"shields": []}
    assert (await service.client.get("/v1/tools")).json() == {"tools": []}


async def test_who_is_asking(service: Service) -> None:
    default = {
        "user_id": "00000000-0000-0000-0000-000",
        "username": "lightspeed-user",
        "skip_userid_check": True,
    }
    assert (await service.client.post("/authorized")).json() == default
    async with service.user("anna") as anna:
        assert (await anna.post("/authorized")).json() == default | {"user_id": "anna"}
    async with service.user(NOBODY) as nobody:
        assert (await nobody.post("/authorized")).status_code == 200
    refused = await service.client.get("/authorized")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path", ["/v1/config", "/v1/providers", "/v1/providers/scripted", "/v1/shields", "/v1/tools"]
)
async def test_each_needs_its_action(service: Service, path: str) -> None:
    async with service.user(NOBODY) as nobody:
        assert (await nobody.get(path)).status_code == 403


READS = sorted({endpoint.path for endpoint in ENDPOINTS if endpoint.method == "GET"})
CHANGING = {"content-length", "x-request-id"}


@pytest.mark.parametrize("path", [*READS, "/docs", "/openapi.json"])
async def test_head_tells_the_headers_of_get(service: Service, path: str) -> None:
    """The length of metrics and the like may differ from one moment to the next."""
    url = path.replace("{provider_id}", "scripted")
    got, head = await service.client.get(url), await service.client.head(url)
    assert head.status_code == got.status_code
    names = set(got.headers) - CHANGING
    assert {name: head.headers[name] for name in names} == {name: got.headers[name] for name in names}
    assert "content-length" in head.headers


@pytest.fixture(scope="module")
async def knowing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """With the search as a tool."""
    state = tmp_path_factory.mktemp("knowing")
    with ScriptedModel() as model:
        async with running(state, model, rag={"tool": ["docs"]}) as service:
            yield service


async def test_the_tool_of_the_service(knowing: Service) -> None:
    (tool,) = (await knowing.client.get("/v1/tools")).json()["tools"]
    assert tool == {
        "identifier": "file_search",
        "description": "Search the product's documentation for passages that help to answer.",
        "parameters": [
            {
                "name": "query",
                "description": "What to look for, in plain words.",
                "parameter_type": "string",
                "required": True,
                "default": None,
            }
        ],
        "provider_id": "lightspeed",
        "toolgroup_id": "builtin::file_search",
        "server_source": "builtin",
        "type": "tool",
    }


async def test_the_model_is_offered_the_tools_that_are_listed(knowing: Service) -> None:
    listed: list[dict[str, Any]] = (await knowing.client.get("/v1/tools")).json()["tools"]
    await knowing.client.post("/v1/query", json={"query": "How?"})
    offered = knowing.questions[-1]["tools"]
    assert [tool["function"]["name"] for tool in offered] == [tool["identifier"] for tool in listed]
