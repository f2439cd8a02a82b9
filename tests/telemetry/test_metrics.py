import re

from lightspeed.telemetry.metrics import Face, Metrics


def samples(metrics: Metrics, prefix: str) -> dict[str, float]:
    lines = metrics.exposition().decode().splitlines()
    found = (re.fullmatch(rf"({prefix}\w*(?:\{{.*\}})?) (\S+)", line) for line in lines)
    return {match[1]: float(match[2]) for match in found if match and "_created" not in match[1]}


def test_content_type() -> None:
    assert Metrics().content_type == "text/plain; version=1.0.0; charset=utf-8"


def test_responses() -> None:
    metrics = Metrics()
    metrics.response("/v1/query", 200, 0.7)
    metrics.response("/v1/query", 404, 0.01)
    metrics.response("/metrics", 200, 0.01)
    assert samples(metrics, "ls_rest_api_calls") == {
        'ls_rest_api_calls_total{path="/v1/query",status_code="200"}': 1,
        'ls_rest_api_calls_total{path="/v1/query",status_code="404"}': 1,
    }
    durations = samples(metrics, "ls_response_duration_seconds")
    assert durations['ls_response_duration_seconds_count{path="/metrics"}'] == 1
    assert durations['ls_response_duration_seconds_sum{path="/v1/query"}'] == 0.71
    bounds = [
        float(name.split('le="')[1].split('"')[0])
        for name in durations
        if name.startswith("ls_response_duration_seconds_bucket") and "/v1/query" in name
    ]
    assert bounds == [0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, float("inf")]


def test_calls_of_a_model() -> None:
    metrics = Metrics()
    metrics.model_call("openai", "gpt", Face.QUERY, duration=1.5, result="success")
    metrics.model_call("openai", "gpt", Face.QUERY, duration=2.0, result="failure")
    metrics.tokens("openai", "gpt", Face.QUERY, sent=40, received=3)
    metrics.shield_refusal(Face.STREAMING_QUERY)
    labels = 'provider="openai"'
    found = {
        name: value for name, value in samples(metrics, "ls_llm").items() if "_bucket" not in name and value
    }
    assert found == {
        f'ls_llm_calls_total{{endpoint="/v1/query",model="gpt",{labels}}}': 2,
        f'ls_llm_calls_failures_total{{endpoint="/v1/query",model="gpt",{labels}}}': 1,
        f'ls_llm_token_sent_total{{endpoint="/v1/query",model="gpt",{labels}}}': 40,
        f'ls_llm_token_received_total{{endpoint="/v1/query",model="gpt",{labels}}}': 3,
        'ls_llm_validation_errors_total{endpoint="/v1/streaming_query"}': 1,
        **{
            f'ls_llm_inference_duration_seconds_{part}{{endpoint="/v1/query",model="gpt",{labels},result="{result}"}}': value
            for result, part, value in [
                ("success", "count", 1),
                ("success", "sum", 1.5),
                ("failure", "count", 1),
                ("failure", "sum", 2),
            ]
        },
    }


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
    first.response("/only-here", 200, 0.1)
    text = second.exposition().decode()
    assert "/only-here" not in text
    assert "process_cpu_seconds_total" in text
    assert "python_gc_collections_total" in text
    assert "python_info" in text
