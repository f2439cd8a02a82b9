"""/metrics of the whole application: what each kind of question counts, and what the dashboard shows of it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio import to_thread
from asgi_lifespan import LifespanManager

from lightspeed.app import create_app
from lightspeed.errors import LightspeedError
from lightspeed.telemetry.metrics import Face, Metrics
from tests.api.conftest import Service, plan, running
from tests.api.knowledge import knowledge_service, own
from tests.api.test_streaming_query import interrupt, streaming
from tests.scripted_model import Reply, ScriptedModel, ToolCall, Usage, invalid_api_key, server_error

pytestmark = pytest.mark.anyio

DASHBOARD = Path(__file__).parents[2] / "examples" / "grafana" / "lightspeed.json"
USAGE = Usage(40, 7)
_METRIC = re.compile(r"\b(?:ls|lightspeed|process|python|http)_\w+")


class Samples:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        lines = re.findall(r"^([a-z]\w*)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE)
        self.values = {
            (name, tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels)))): float(value)
            for name, labels, value in lines
        }

    def value(self, name: str, **labels: str) -> float:
        return self.values.get((name, tuple(sorted(labels.items()))), 0.0)

    @property
    def names(self) -> set[str]:
        """All that may be asked for, also what has not been counted yet."""
        endings = {"histogram": ("_bucket", "_count", "_sum")}
        declared = (
            [name + ending for ending in endings.get(kind, ("",))] for name, kind in self.types.items()
        )
        return {name for names in declared for name in names}

    def labels(self, name: str) -> set[str]:
        return {label for found, labels in self.values for label, _ in labels if found == name}


async def samples(service: Service) -> Samples:
    answer = await service.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    return Samples(answer.text)


async def grown(service: Service, before: Samples, name: str, **labels: str) -> float:
    return (await samples(service)).value(name, **labels) - before.value(name, **labels)


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """One store is searched before each question, and one that is not there; the model may search itself too."""
    state = tmp_path_factory.mktemp("state")
    with ScriptedModel() as model:
        rag = {"inline": ["knowledge", "gone"], "tool": ["knowledge"]}
        async with knowledge_service(state, model, own(state, model), rag=rag) as service:
            yield service


async def ask(service: Service, face: Face, **fields: Any) -> httpx.Response:
    return await service.client.post(
        face, json={"query": "How many nodes?", "generate_topic_summary": False, **fields}
    )


@pytest.mark.parametrize("face", [Face.QUERY, Face.STREAMING_QUERY])
async def test_a_question_counts_once(service: Service, face: Face) -> None:
    before = await samples(service)
    service.model.queue(Reply("Three nodes are enough.", usage=USAGE))
    assert (await ask(service, face)).status_code == 200
    after = await samples(service)
    model = {"provider": "scripted", "model": "scripted", "endpoint": face}
    streamed = face is Face.STREAMING_QUERY
    for name, labels, expected in [
        ("ls_rest_api_calls_total", {"path": face, "status_code": "200"}, 1),
        ("ls_response_duration_seconds_count", {"path": face}, 1),
        ("ls_llm_calls_total", model, 1),
        ("ls_llm_calls_failures_total", model, 0),
        ("ls_llm_token_sent_total", model, 40),
        ("ls_llm_token_received_total", model, 7),
        ("ls_llm_inference_duration_seconds_count", model | {"result": "success"}, 1),
        ("ls_llm_inference_duration_seconds_count", model | {"result": "failure"}, 0),
        ("lightspeed_turns_total", {"endpoint": face, "outcome": "completed"}, 1),
        ("lightspeed_turns_running", {"endpoint": face}, 0),
        ("lightspeed_turn_phase_duration_seconds_count", {"endpoint": face, "phase": "retrieve"}, 1),
        ("lightspeed_turn_phase_duration_seconds_count", {"endpoint": face, "phase": "generate"}, 1),
        ("lightspeed_turn_phase_duration_seconds_count", {"endpoint": face, "phase": "record"}, 1),
        ("lightspeed_time_to_first_token_seconds_count", model, streamed),
        ("lightspeed_tokens_per_second_count", model, streamed),
        ("lightspeed_retrieval_duration_seconds_count", {"store": "knowledge"}, 1),
        ("lightspeed_retrieval_chunks_count", {"store": "knowledge"}, 1),
        ("lightspeed_retrieval_failures_total", {"store": "knowledge"}, 0),
        ("lightspeed_retrieval_failures_total", {"store": "gone"}, 1),
    ]:
        assert after.value(name, **labels) - before.value(name, **labels) == expected, (name, labels)


@pytest.mark.parametrize("face", [Face.QUERY, Face.STREAMING_QUERY])
async def test_a_failed_call_is_a_call_and_a_failure(service: Service, face: Face) -> None:
    before = await samples(service)
    service.model.queue(Reply(error=invalid_api_key()))
    assert (await ask(service, face)).status_code >= 500
    service.model.queue(Reply("Cut", error=server_error(), error_at=1))
    await ask(service, Face.STREAMING_QUERY)
    after = await samples(service)

    def more(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    for endpoint, expected in {face: 1, Face.STREAMING_QUERY: 1 + (face is Face.STREAMING_QUERY)}.items():
        model = {"provider": "scripted", "model": "scripted", "endpoint": endpoint}
        assert more("ls_llm_calls_total", **model) == expected
        assert more("ls_llm_calls_failures_total", **model) == expected
        assert more("ls_llm_inference_duration_seconds_count", **model, result="failure") == expected
        assert more("lightspeed_turns_total", endpoint=endpoint, outcome="failed") == expected


async def test_the_speed_of_a_stream(service: Service) -> None:
    before = await samples(service)
    reply = Reply("one two three four", delay_first=0.2, delay_between=0.05, usage=Usage(9, 4))
    service.model.queue(reply)
    await ask(service, Face.STREAMING_QUERY)
    model = {"provider": "scripted", "model": "scripted", "endpoint": Face.STREAMING_QUERY}
    assert await grown(service, before, "lightspeed_time_to_first_token_seconds_sum", **model) >= 0.2
    assert await grown(service, before, "lightspeed_tokens_per_second_count", **model) == 1
    # Three tokens follow the first after 0.15 s; a busy machine may take long to read them, or read them in one go.
    assert await grown(service, before, "lightspeed_tokens_per_second_sum", **model) > 0


async def test_a_running_turn_and_its_interruption(service: Service) -> None:
    endpoint = Face.STREAMING_QUERY
    before = await samples(service)
    service.model.queue(Reply("one two three", hang_at=1))
    async with streaming(service) as stream:
        await stream.reads('"one"')
        assert await grown(service, before, "lightspeed_turns_running", endpoint=endpoint) == 1
        await interrupt(service, stream.request_id)
    ended = {"endpoint": endpoint, "outcome": "interrupted"}
    assert await grown(service, before, "lightspeed_turns_total", **ended) == 1
    assert await grown(service, before, "lightspeed_turns_running", endpoint=endpoint) == 0


async def test_a_tool_call_is_counted_and_the_names_of_the_user_are_not(service: Service) -> None:
    before = await samples(service)
    service.model.queue(Reply(tool_calls=[ToolCall("file_search", {"query": "nodes"}), ToolCall("made_up")]))
    service.model.queue(Reply("Three.", usage=USAGE))
    stores = ["knowledge", "someone-elses-secret-store"]
    answer = await ask(service, Face.STREAMING_QUERY, vector_store_ids=stores)
    assert answer.status_code == 200
    assert (
        await grown(service, before, "lightspeed_tool_calls_total", tool="file_search", result="success") == 1
    )
    assert await grown(service, before, "lightspeed_tool_calls_total", tool="function", result="failure") == 1
    assert (
        await grown(service, before, "lightspeed_tool_call_duration_seconds_count", tool="file_search") == 1
    )
    assert await grown(service, before, "lightspeed_retrieval_failures_total", store="other") == 1
    text = (await service.client.get("/metrics")).text
    assert "secret" not in text
    assert "made_up" not in text


async def test_routes_with_parameters_are_counted_by_their_template(service: Service) -> None:
    path = "/v1/conversations/{conversation_id}"
    before = await samples(service)
    for name in ("1" * 48, "2" * 48):
        assert (await service.client.get(f"/v1/conversations/{name}")).status_code == 404
    await service.client.delete(f"/v1/conversations/{'1' * 48}")
    await service.client.get("/wp-admin.php")
    assert await grown(service, before, "ls_rest_api_calls_total", path=path, status_code="404") == 2
    assert await grown(service, before, "ls_response_duration_seconds_count", path=path) == 3
    assert (
        await grown(
            service, before, "lightspeed_http_requests_total", method="GET", path=path, status_code="404"
        )
        == 2
    )
    assert await grown(service, before, "ls_rest_api_calls_total", path="unmatched", status_code="404") == 1


async def test_a_preflight_is_no_call(service: Service) -> None:
    before = await samples(service)
    headers = {"Origin": "http://page", "Access-Control-Request-Method": "POST"}
    assert (await service.client.options("/v1/query", headers=headers)).status_code == 200
    assert await grown(service, before, "ls_rest_api_calls_total", path="/v1/query", status_code="200") == 0


@pytest.mark.parametrize(
    "inference",
    [
        {"default_provider": "scripted", "default_model": "scripted"},
        {"default_provider": "scripted", "default_model": "scripted/scripted"},
        {},
    ],
)
async def test_the_default_model_is_marked(tmp_path: Path, inference: dict[str, str]) -> None:
    """It is the one that answers a question that names none."""
    with ScriptedModel() as model:
        async with running(tmp_path, model, inference=inference) as service:
            told = (await samples(service)).values
            answer = await ask(service, Face.QUERY)
            after = await samples(service)
    marked = {
        dict(labels)["model"]
        for (name, labels), value in told.items()
        if name == "ls_provider_model_configuration" and value == 1
    }
    assert answer.status_code == 200
    assert len(marked) == 1
    for chosen in marked:
        called = {"provider": "scripted", "model": chosen, "endpoint": Face.QUERY}
        assert after.value("ls_llm_calls_total", **called) == 1


async def test_the_process_and_its_loop_are_watched(service: Service) -> None:
    told = await samples(service)
    with anyio.fail_after(10):
        while not told.value("lightspeed_event_loop_delay_seconds_count"):
            told = await samples(service)
    assert told.value("lightspeed_ready_workers") == 1
    assert told.value("lightspeed_turns_waiting") == 0
    assert told.value("process_cpu_seconds_total") > 0
    assert "python_info" in told.names


async def test_metrics_need_no_stack(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        whole = await to_thread.run_sync(plan, tmp_path, model)
        providers = {
            "inference": [{"provider_id": "scripted", "provider_type": "remote::nothing", "config": {}}]
        }
        broken = replace(whole, run_configuration={**whole.run_configuration, "providers": providers})
        failure: asyncio.Future[LightspeedError] = asyncio.get_running_loop().create_future()
        async with LifespanManager(create_app(broken, failure.set_result)) as manager:
            transport = httpx.ASGITransport(manager.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                before = await client.get("/metrics")
                await asyncio.wait_for(failure, 30)
                assert (await client.get("/readiness")).status_code == 503
                after = await client.get("/metrics")
    assert before.status_code == after.status_code == 200
    assert Samples(after.text).value("lightspeed_ready_workers") == 0
    assert Samples(after.text).value("ls_rest_api_calls_total", path="/readiness", status_code="503") == 1


async def test_below_a_root_path(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        async with running(tmp_path, model, service={"root_path": "/p"}) as service:
            assert (await service.client.get("/p/liveness")).status_code == 200
            answer = await service.client.get("/p/metrics")
            assert answer.status_code == 200
            assert Samples(answer.text).value("ls_response_duration_seconds_count", path="/liveness") == 1


@pytest.fixture(scope="module")
def expressions() -> list[str]:
    return list(_expressions(json.loads(DASHBOARD.read_text())["panels"]))


def _expressions(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", ()))
        yield from _expressions(panel.get("panels", []))


async def test_the_dashboard_asks_for_what_is_there(service: Service, expressions: list[str]) -> None:
    """Every metric has been declared, and no label is asked for that none of its samples has."""
    for face in (Face.QUERY, Face.STREAMING_QUERY):
        service.model.queue(Reply("Three nodes.", usage=USAGE))
        await ask(service, face)
        service.model.queue(Reply(error=invalid_api_key()))
        await ask(service, face)
    service.model.queue(Reply(tool_calls=[ToolCall("file_search", {"query": "nodes"})]))
    await ask(service, Face.QUERY)
    told = await samples(service)
    # No record is ever lost here.
    lost = Metrics()
    lost.storage_failure("transcript")
    told.values |= Samples((await to_thread.run_sync(lost.exposition)).decode()).values
    assert len(expressions) > 20
    for expression in expressions:
        used = _METRIC.findall(expression)
        assert used, expression
        assert set(used) <= told.names, expression
        given = set().union(*map(told.labels, used)) | {"le", "instance", "job"}
        grouped = re.findall(r"(?:by|without) \(([^)]*)\)", expression)
        selected = re.findall(r"\b(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
        wanted = {label.strip() for labels in grouped for label in labels.split(",")} | set(selected)
        assert wanted <= given, expression


async def test_the_dashboard_shows_all_that_is_ours(service: Service, expressions: list[str]) -> None:
    told = await samples(service)
    shown = {
        re.sub("_(bucket|count|sum)$", "", name) for text in expressions for name in _METRIC.findall(text)
    }
    ours = {name for name in told.types if name.startswith(("ls_", "lightspeed_")) and "_created" not in name}
    assert {re.sub("_total$", "", name) for name in ours} <= {re.sub("_total$", "", name) for name in shown}


async def test_the_dashboard_can_be_imported() -> None:
    dashboard = json.loads(await to_thread.run_sync(DASHBOARD.read_text))
    (source,) = [variable for variable in dashboard["templating"]["list"] if variable["type"] == "datasource"]
    assert source["query"] == "prometheus"
    assert dashboard["schemaVersion"] >= 39
    assert "id" not in dashboard or dashboard["id"] is None
    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    assert rows == ["Traffic", "Models", "Turns", "Retrieval", "Storage", "Process"]
    panels = [
        *dashboard["panels"],
        *(inner for panel in dashboard["panels"] for inner in panel.get("panels", ())),
    ]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        for holder in [panel, *panel.get("targets", ())] if panel["type"] != "row" else []:
            assert holder["datasource"] == {"type": "prometheus", "uid": f"${{{source['name']}}}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


async def test_the_documentation_names_every_metric(service: Service) -> None:
    text = await to_thread.run_sync((DASHBOARD.parents[2] / "docs" / "operations.md").read_text)
    told = await samples(service)
    names = {name for name in told.types if not name.endswith("_created")}
    ours = {name for name in names if not name.startswith("python_")}
    assert {
        name
        for name in ours
        if f"`{name}`" not in text and f"`{name.removeprefix('lightspeed_')}`" not in text
    } == set()
    described = set(re.findall(r"`((?:ls|lightspeed|process)_[a-z_]+[a-z])`", text))
    assert described - names == set()
