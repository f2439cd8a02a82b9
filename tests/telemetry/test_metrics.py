import re
import timeit
from collections.abc import Callable
from typing import Any

import pytest

from lightspeed.telemetry.metrics import Face, Metrics

LONG = [0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, float("inf")]


def samples(metrics: Metrics, prefix: str) -> dict[str, float]:
    lines = metrics.exposition().decode().splitlines()
    found = (re.fullmatch(rf"({prefix}\w*(?:\{{.*\}})?) (\S+)", line) for line in lines)
    return {match[1]: float(match[2]) for match in found if match and "_created" not in match[1]}


def counted(metrics: Metrics, prefix: str) -> dict[str, float]:
    """Samples that are not zero, without the bounds of histograms."""
    return {
        name: value for name, value in samples(metrics, prefix).items() if "_bucket" not in name and value
    }


def bounds(metrics: Metrics, name: str) -> list[float]:
    return [float(sample.split('le="')[1].split('"')[0]) for sample in samples(metrics, f"{name}_bucket")]


def test_content_type() -> None:
    assert Metrics().content_type == "text/plain; version=1.0.0; charset=utf-8"


def test_responses() -> None:
    metrics = Metrics()
    metrics.response("POST", "/v1/query", 200, 0.7)
    metrics.response("POST", "/v1/query", 404, 0.01)
    metrics.response("BREW", "unmatched", 404, 0.01)
    metrics.response("GET", "/metrics", 200, 0.01)
    assert samples(metrics, "ls_rest_api_calls") == {
        'ls_rest_api_calls_total{path="/v1/query",status_code="200"}': 1,
        'ls_rest_api_calls_total{path="/v1/query",status_code="404"}': 1,
        'ls_rest_api_calls_total{path="unmatched",status_code="404"}': 1,
    }
    durations = samples(metrics, "ls_response_duration_seconds")
    assert durations['ls_response_duration_seconds_count{path="/metrics"}'] == 1
    assert durations['ls_response_duration_seconds_sum{path="/v1/query"}'] == 0.71
    assert samples(metrics, "lightspeed_http_requests") == {
        'lightspeed_http_requests_total{method="POST",path="/v1/query",status_code="200"}': 1,
        'lightspeed_http_requests_total{method="POST",path="/v1/query",status_code="404"}': 1,
        'lightspeed_http_requests_total{method="other",path="unmatched",status_code="404"}': 1,
        'lightspeed_http_requests_total{method="GET",path="/metrics",status_code="200"}': 1,
    }


def test_calls_of_a_model() -> None:
    metrics = Metrics()
    metrics.model_call("openai", "gpt", Face.QUERY, duration=1.5, result="success")
    metrics.model_call("openai", "gpt", Face.QUERY, duration=2.0, result="failure")
    metrics.tokens("openai", "gpt", Face.QUERY, sent=40, received=3)
    metrics.shield_refusal(Face.STREAMING_QUERY)
    labels = 'endpoint="/v1/query",model="gpt",provider="openai"'
    assert counted(metrics, "ls_llm") == {
        f"ls_llm_calls_total{{{labels}}}": 2,
        f"ls_llm_calls_failures_total{{{labels}}}": 1,
        f"ls_llm_token_sent_total{{{labels}}}": 40,
        f"ls_llm_token_received_total{{{labels}}}": 3,
        'ls_llm_validation_errors_total{endpoint="/v1/streaming_query"}': 1,
        **{
            f'ls_llm_inference_duration_seconds_{part}{{{labels},result="{result}"}}': value
            for result, part, value in [
                ("success", "count", 1),
                ("success", "sum", 1.5),
                ("failure", "count", 1),
                ("failure", "sum", 2),
            ]
        },
    }


@pytest.mark.parametrize(
    ("tell", "prefix", "expected"),
    [
        pytest.param(
            lambda metrics: metrics.turns.phase(Face.QUERY, "record", 0.25),
            "lightspeed_turn_phase_duration_seconds",
            {
                '_count{endpoint="/v1/query",phase="record"}': 1,
                '_sum{endpoint="/v1/query",phase="record"}': 0.25,
            },
            id="phase",
        ),
        pytest.param(
            lambda metrics: metrics.turns.first_token("p", "m", Face.STREAMING_QUERY, 0.5),
            "lightspeed_time_to_first_token_seconds",
            {
                '_count{endpoint="/v1/streaming_query",model="m",provider="p"}': 1,
                '_sum{endpoint="/v1/streaming_query",model="m",provider="p"}': 0.5,
            },
            id="first token",
        ),
        pytest.param(
            lambda metrics: metrics.turns.token_rate("p", "m", Face.STREAMING_QUERY, 80),
            "lightspeed_tokens_per_second",
            {
                '_count{endpoint="/v1/streaming_query",model="m",provider="p"}': 1,
                '_sum{endpoint="/v1/streaming_query",model="m",provider="p"}': 80,
            },
            id="rate",
        ),
        pytest.param(
            lambda metrics: [
                metrics.turns.tool_call("file_search_call", "completed", 0.5),
                metrics.turns.tool_call("file_search_call", "failure", 0.5),
            ],
            "lightspeed_tool_call",
            {
                's_total{result="success",tool="file_search"}': 1,
                's_total{result="failure",tool="file_search"}': 1,
                '_duration_seconds_count{tool="file_search"}': 2,
                '_duration_seconds_sum{tool="file_search"}': 1,
            },
            id="tools",
        ),
        pytest.param(
            lambda metrics: [
                metrics.retrieval.search("docs", 3, 0.5),
                metrics.retrieval.search("docs", None, 0.5),
            ],
            "lightspeed_retrieval",
            {
                '_duration_seconds_count{store="docs"}': 2,
                '_duration_seconds_sum{store="docs"}': 1,
                '_chunks_count{store="docs"}': 1,
                '_chunks_sum{store="docs"}': 3,
                '_failures_total{store="docs"}': 1,
            },
            id="retrieval",
        ),
        pytest.param(
            lambda metrics: [
                metrics.turns.began(Face.QUERY),
                metrics.turns.began(Face.QUERY),
                metrics.turns.ended(Face.QUERY, "interrupted"),
            ],
            "lightspeed_turns_",
            {
                'running{endpoint="/v1/query"}': 1,
                'total{endpoint="/v1/query",outcome="interrupted"}': 1,
            },
            id="turns",
        ),
        pytest.param(
            lambda metrics: metrics.turns.waiting(4), "lightspeed_turns_waiting", {"": 4}, id="waiting"
        ),
        pytest.param(
            lambda metrics: [metrics.ready(True), metrics.event_loop_delay(0.5)],
            "lightspeed_(?:ready|event)",
            {"_workers": 1, "_loop_delay_seconds_count": 1, "_loop_delay_seconds_sum": 0.5},
            id="process",
        ),
        pytest.param(
            lambda metrics: metrics.storage_failure("transcript"),
            "ls_storage_failures",
            {'_total{kind="transcript"}': 1},
            id="storage",
        ),
    ],
)
def test_labels(tell: Callable[[Metrics], Any], prefix: str, expected: dict[str, float]) -> None:
    metrics = Metrics()
    tell(metrics)
    assert {
        re.sub(f"^{prefix}", "", name): value for name, value in counted(metrics, prefix).items()
    } == expected


def test_bounds() -> None:
    metrics = Metrics()
    metrics.response("GET", "/v1/query", 200, 0.7)
    metrics.model_call("p", "m", Face.QUERY, duration=1.5, result="success")
    metrics.turns.phase(Face.QUERY, "retrieve", 0.7)
    for name in ("ls_response_duration_seconds", "ls_llm_inference_duration_seconds"):
        assert bounds(metrics, name) == LONG
    ours = bounds(metrics, "lightspeed_turn_phase_duration_seconds")
    assert ours[0] == 0.001
    assert set(LONG) - {20} < set(ours)


def test_what_has_not_happened_yet_is_zero() -> None:
    metrics = Metrics()
    assert set(samples(metrics, "lightspeed_turns_running").values()) == {0}
    assert set(samples(metrics, "ls_llm_validation_errors").values()) == {0}
    assert samples(metrics, "lightspeed_ready_workers") == {"lightspeed_ready_workers": 0}


def test_models_are_replaced() -> None:
    metrics = Metrics()
    metrics.models({("a", "old")}, None)
    metrics.models({("a", "m"), ("b", "m")}, ("b", "m"))
    assert samples(metrics, "ls_provider_model_configuration") == {
        'ls_provider_model_configuration{model="m",provider="a"}': 0,
        'ls_provider_model_configuration{model="m",provider="b"}': 1,
    }


def test_process_is_measured_and_registries_are_apart() -> None:
    first, second = Metrics(), Metrics()
    first.response("GET", "/only-here", 200, 0.1)
    text = second.exposition().decode()
    assert "/only-here" not in text
    assert "process_cpu_seconds_total" in text
    assert "python_gc_collections_total" in text
    assert "python_info" in text


def test_a_streamed_turn_is_counted_quickly() -> None:
    """On a quiet machine it takes 20 microseconds; a busy one is given ten times as many."""
    metrics = Metrics()

    def turn() -> None:
        face, turns = Face.STREAMING_QUERY, metrics.turns
        turns.began(face)
        metrics.retrieval.search("docs", 5, 0.01)
        turns.phase(face, "retrieve", 0.02)
        turns.phase(face, "record", 0.005)
        turns.phase(face, "generate", 0.5)
        metrics.model_call("p", "m", face, duration=0.5, result="success")
        metrics.tokens("p", "m", face, sent=300, received=40)
        turns.first_token("p", "m", face, 0.1)
        turns.token_rate("p", "m", face, 60)
        turns.ended(face, "completed")
        metrics.response("POST", face, 200, 0.6)

    assert min(timeit.repeat(turn, number=200, repeat=10)) / 200 < 200e-6
