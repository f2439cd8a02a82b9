"""A real service whose providers come and go, and one whose configuration is full of secrets."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from lightspeed.app import ENDPOINTS
from tests.embedded import run_configuration
from tests.scripted_model import ScriptedModel, invalid_api_key
from tests.service.conftest import RunningService, configuration_files, serving

WITHIN = 40  # seconds


def wait_for(condition: Callable[[], bool], service: RunningService) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, service.log[-4000:]
        assert service.process.poll() is None, service.log[-4000:]
        time.sleep(0.05)


def status(service: RunningService) -> int:
    try:
        return service.client.get("/readiness").status_code
    except httpx.TransportError:
        return 0


def reason(service: RunningService) -> str:
    try:
        return str(service.client.get("/readiness").json()["reason"])
    except (httpx.TransportError, ValueError):
        return ""


def test_a_provider_that_is_away_comes_goes_and_comes_back(tmp_path: Path) -> None:
    model = ScriptedModel()
    with model:
        pass
    file = configuration_files(tmp_path, tmp_path / "state", model)
    with serving(tmp_path, "-c", str(file), state=tmp_path / "state", wait=False) as service:
        wait_for(lambda: reason(service) == "Providers not healthy: scripted", service)
        refused = service.query("asked before it was there")
        assert refused.status_code == 503
        assert refused.json()["detail"]["response"] == "Unable to connect to Llama Stack"
        assert service.client.get("/v1/models").json() == {"models": []}

        with model:
            wait_for(lambda: status(service) == 200, service)
            assert service.query("asked while it was there").status_code == 200
            assert service.events("asked while it was there")[-1]["event"] == "end"
            assert service.client.get("/readiness").json()["impacts"] == []
        assert service.query("asked while it was away").status_code == 503
        wait_for(lambda: status(service) == 503, service)
        with model:
            wait_for(lambda: status(service) == 200, service)
            assert service.query("asked when it was back").status_code == 200

        slowest = max(timed(service) for _ in range(50))
        print(f"slowest of 50 answers of /readiness: {1000 * slowest:.1f} ms")
        assert slowest < 1  # it waits for no provider
        assert service.stop() in (0, -15)
    assert service.log.count("Provider scripted of inference is down") == 2


def timed(service: RunningService) -> float:
    before = time.monotonic()
    service.client.get("/readiness")
    return time.monotonic() - before


MARK = "MARKED"


def full_of_secrets(folder: Path, model: ScriptedModel) -> tuple[Path, set[str]]:
    """The service's file, and the secrets in it and in run.yaml."""
    used: set[str] = set()

    def secret(name: str) -> str:
        value = f"{MARK}{name}{len(used):02d}Zq7"
        used.add(value)
        return value

    state = folder / "state"
    postgres = {
        "host": "127.0.0.1",
        "port": 9,
        "db": "d",
        "user": "u",
        "password": secret("cache"),
    }
    file = configuration_files(
        folder,
        state,
        model,
        service={"host": "127.0.0.1", "base_url": f"https://user:{secret('base')}@public.example/"},
        llama_stack={
            "use_as_library_client": True,
            "library_client_config_path": str(folder / "run.yaml"),
            "url": f"http://u:{secret('stackurl')}@stack.example/?api_key={secret('parameter')}",
            "api_key": secret("stack"),
        },
        database={"postgres": postgres | {"password": secret("database")}},
        conversation_cache={"type": "postgres", "postgres": postgres},
        quota_handlers={"postgres": postgres | {"password": secret("quota")}},
        a2a_state={"postgres": postgres | {"password": secret("a2a")}},
        okp={"rhokp_url": f"http://u:{secret('portal')}@127.0.0.1:9/"},
        rag={"inline": ["docs"]},
        user_data_collection={
            "feedback_enabled": True,
            "feedback_storage": str(state / "feedback"),
            "data_collector": {
                "enabled": False,
                "ingress_server_url": f"http://u:{secret('ingress')}@127.0.0.1:9/",
                "ingress_server_auth_token": secret("token"),
                "ingress_content_service_name": "assistant",
            },
        },
        authentication={
            "module": "noop",
            "api_key_config": {"api_key": secret("apikey")},
            "jwk_config": {"url": f"https://u:{secret('keys')}@keys.example/?token={secret('jwk')}"},
            "k8s_cluster_api": f"https://u:{secret('cluster')}@cluster.example/",
        },
    )
    scripted = ScriptedModel(port=model.port)
    scripted.port = model.port
    run = run_configuration(state, scripted)
    keys = [secret("key"), secret("other")]
    run["apis"].append("vector_io")
    run["providers"] |= {
        "inference": [
            {
                "provider_id": "scripted",
                "provider_type": "remote::openai",
                "config": {
                    "api_key": keys[0],
                    "base_url": model.base_url,
                    "network": {"headers": {"X-Anything": secret("header")}},
                },
            },
            {
                "provider_id": "away",
                "provider_type": "remote::vllm",
                "config": {
                    "api_token": keys[1],
                    "base_url": f"http://u:{secret('info')}@127.0.0.1:9/v1?access_token={secret('query')}",
                },
            },
        ],
        "vector_io": [
            {
                "provider_id": "database",
                "provider_type": "remote::pgvector",
                "config": {
                    "host": "127.0.0.1",
                    "port": 9,
                    "db": "d",
                    "user": "u",
                    "password": secret("vectors"),
                    "persistence": {"backend": "kv_knowledge", "namespace": "vectors"},
                },
            }
        ],
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    return file, used


def read_everything(service: RunningService) -> dict[str, str]:
    """The answers of all GET endpoints, with their headers, and of requests that fail."""
    answers = {}
    for endpoint in ENDPOINTS:
        if endpoint.method == "GET":
            for name in ("scripted", "away", "database") if "{provider_id}" in endpoint.path else ("x",):
                url = endpoint.path.replace("{provider_id}", name)
                answer = service.client.get(url)
                answers[url] = f"{answer.status_code} {answer.headers} {answer.text}"
    for path in ("/openapi.json", "/docs"):
        answers[path] = service.client.get(path).text
    attempts: list[dict[str, Any]] = [
        {"query": "How?"},
        {"query": "How?", "provider": "away", "model": "m"},
        {"query": "How?", "provider": "nobody", "model": "m"},
        {"query": "How?", "vector_store_ids": ["docs"]},
        {"query": 7},
    ]
    for number, body in enumerate(attempts):
        for path in ("/v1/query", "/v1/streaming_query", "/authorized", "/v1/vector-stores"):
            answers[f"{path} {number}"] = service.client.post(path, json=body).text
    return answers


def test_no_secret_of_the_configuration_is_ever_told(tmp_path: Path, model: ScriptedModel) -> None:
    file, used = full_of_secrets(tmp_path, model)
    with serving(tmp_path, "-c", str(file), "--verbose", state=tmp_path / "state", wait=False) as service:
        wait_for(lambda: status(service) == 200, service)
        healthy = read_everything(service)
        model.failures["/v1/models"] = model.failures["/v1/chat/completions"] = invalid_api_key()
        wait_for(lambda: "credentials" in service.client.get("/v1/providers/scripted").text, service)
        broken = read_everything(service)
        service.stop()
    assert len(used) >= 18
    told = {**healthy, **{f"broken {name}": text for name, text in broken.items()}, "log": service.log}
    leaks = {(name, mark) for name, text in told.items() for mark in used if mark in text}
    assert leaks == set()
    # What was told is not just nothing.
    assert '"password":"**********"' in healthy["/v1/config"]
    assert '"api_token":"**********"' in healthy["/v1/providers/away"]
    assert '"X-Anything":"**********"' in healthy["/v1/providers/scripted"]
    assert "away" in healthy["/readiness"]
    assert "database" in healthy["/readiness"]


def test_a_dump_tells_no_secret(tmp_path: Path, model: ScriptedModel) -> None:
    file, used = full_of_secrets(tmp_path, model)
    done = subprocess.run(
        [sys.executable, "-m", "lightspeed", "-c", str(file), "--dump-configuration"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    dump = (tmp_path / "configuration.json").read_text()
    assert '"name": "Test service"' in dump
    assert "user_data_collection" in dump
    assert len(used) >= 18
    assert MARK not in dump + done.stdout + done.stderr


def test_complaints_of_a_wrong_configuration_tell_no_secret(tmp_path: Path, model: ScriptedModel) -> None:
    file, _ = full_of_secrets(tmp_path, model)
    run_file = tmp_path / "run.yaml"
    wrong = yaml.safe_load(run_file.read_text())
    for provider in (entry for entries in wrong["providers"].values() for entry in entries):
        provider["config"]["port"] = {"secret": f"{MARK}port"}
        provider["config"]["base_url"] = [f"{MARK}url"]
    run_file.write_text(yaml.safe_dump(wrong))
    with serving(tmp_path, "-c", str(file), "--verbose", state=tmp_path / "state", wait=False) as service:
        assert service.process.wait(60) == 1, service.log
    assert "providers." in service.log
    assert MARK not in service.log


def test_head_has_the_headers_and_no_body(service: RunningService) -> None:
    for path in ("/", "/liveness", "/readiness", "/v1/config", "/v1/providers", "/docs", "/metrics"):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda connection=connection: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), path
        assert body == b"", path
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        assert length > 0
