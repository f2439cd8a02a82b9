"""`lightspeed check` of files without mistakes: what it tells, and that it does nothing."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization

from lightspeed.cli import run
from tests.example_files import EXAMPLES, Example
from tests.storage.certificates import Authority

ROOT = Path(__file__).parents[2]
SECRET = "c4nary-hunter2"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIGHTSPEED_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return tmp_path


def sections(**more: Any) -> dict[str, Any]:
    stack = {"use_as_library_client": True}
    return {"name": "n", "service": {}, "llama_stack": stack, "user_data_collection": {}, **more}


def check(
    folder: Path, capsys: pytest.CaptureFixture[str], content: dict[str, Any]
) -> tuple[dict[str, str], list[str]]:
    """The summary and the warnings of a configuration that is in order."""
    (folder / "lightspeed-stack.yaml").write_text(yaml.safe_dump(content))
    before = sorted(folder.rglob("*"))
    code = run(["check"])
    output = capsys.readouterr()
    assert code == 0, output.err
    assert sorted(folder.rglob("*")) == before
    assert SECRET not in output.out + output.err
    first, *lines = output.out.splitlines()
    assert first.endswith(": no mistakes")
    summary = {line[2:17].strip(): line[18:] for line in lines}
    return summary, [line.removeprefix("warning: ") for line in output.err.splitlines()]


def test_the_built_in_configuration(folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "lightspeed", "check", "-c", str(ROOT / "config" / "lightspeed-stack.yaml")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "  address         http://127.0.0.1:8080\n" in done.stdout
    assert "  stores          knowledge, lightspeed-docs\n" in done.stdout
    assert list(home.iterdir()) == []
    assert not (folder / "state").exists()


def test_a_full_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = sections(
        service={"host": "::1", "port": 9000, "root_path": "/a", "workers": 3},
        inference={
            "default_provider": "openai",
            "default_model": "m",
            "providers": [{"type": "openai", "api_key": SECRET, "allowed_models": ["m", "n"]}],
        },
        rag={"inline": ["products"], "tool": ["products"]},
        reranker={"enabled": True},
        database={"postgres": {"host": "db", "db": "d", "user": "u", "password": SECRET}},
        conversation_cache={"type": "noop"},
        retention={"feedback_days": 3},
        user_data_collection={
            "feedback_enabled": True,
            "feedback_storage": str(folder / "f"),
            "data_collector": {
                "enabled": True,
                "ingress_server_url": f"https://u:{SECRET}@ingress",
                "ingress_content_service_name": "n",
            },
        },
    )
    summary, warnings = check(folder, capsys, content)
    assert summary == {
        "address": "http://[::1]:9000/a, 3 processes",
        "models": "openai (remote::openai): m, n; onnx (inline::onnx)",
        "embeddings": "onnx/all-MiniLM-L6-v2",
        "stores": "knowledge, products",
        "default model": "openai/m",
        "searched": "before each question products; by the model products",
        "database": "PostgreSQL d on db:5432",
        "history": "without texts",
        "authentication": "noop",
        "features": f"feedback in {folder}/f, data collector, retention, reranker",
        "data": str(folder / "state"),
    }
    assert warnings == [
        "lightspeed-stack.yaml: conversation_cache.type: `noop` keeps no texts, so follow-up questions are"
        " answered without them"
    ]


def test_tls_with_a_password(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate, key = Authority.make("authority").server("127.0.0.1")
    encrypted = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(SECRET.encode()),
    )
    (folder / "certificate.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(encrypted)
    (folder / "password").write_text(f"{SECRET}\n")
    tls = {
        "tls_certificate_path": "certificate.pem",
        "tls_key_path": "key.pem",
        "tls_key_password": "password",
    }
    summary, _ = check(folder, capsys, sections(service={"tls_config": tls}))
    assert summary["address"] == "https://localhost:8080"

    (folder / "password").write_text("another")
    assert run(["check"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "service.tls_config: certificate and key cannot be loaded: " in line
    (folder / "key.pem").write_bytes(Authority.make("other").server("127.0.0.1")[1])
    assert run(["check"]) == 1
    assert "key values mismatch" in capsys.readouterr().err


def test_a_stack_that_runs_elsewhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack = {"url": f"http://u:{SECRET}@stack:8321", "library_client_config_path": "run.yaml"}
    (folder / "run.yaml").write_text("")
    summary, warnings = check(folder, capsys, sections(rag={"tool": ["made"]}) | {"llama_stack": stack})
    assert summary["stack"] == "http://**********@stack:8321/"
    assert summary["searched"] == "by the model made"
    assert "models" not in summary
    assert warnings == [
        "lightspeed-stack.yaml: llama_stack.library_client_config_path: has no effect, because the stack runs"
        " elsewhere"
    ]


def test_warnings_of_both_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vllm = {"provider_id": "v", "provider_type": "remote::vllm"}
    config = {"url": f"http://u:{SECRET}@h/v1", "api_key": SECRET}
    faiss = {
        "provider_id": "f",
        "provider_type": "inline::faiss",
        "config": {"kvstore": {"type": "sqlite", "db_path": "f.db"}},
    }
    providers = {"inference": [vllm | {"config": config}], "vector_io": [faiss]}
    (folder / "run.yaml").write_text(yaml.safe_dump({"image_name": "x", "providers": providers}))
    content = sections(
        service={"auth_enabled": True},
        rag={"inline": ["made"]},
        inference={"default_provider": "other", "default_model": "m"},
    )
    content["llama_stack"]["library_client_config_path"] = "run.yaml"
    _, warnings = check(folder, capsys, content)
    assert warnings == [
        "run.yaml: image_name: is `distro_name` now",
        "run.yaml: providers.inference.v.config.url: is `base_url` now",
        "run.yaml: providers.vector_io.f.config.kvstore: its database is in `storage.backends` now",
        "run.yaml: storage.backends: has no `sql_` database; one in the state directory is used",
        "lightspeed-stack.yaml: inference.default_provider: there is no provider `other`; there: v",
        "lightspeed-stack.yaml: service.auth_enabled: has no effect; `authentication.module` decides",
        "lightspeed-stack.yaml: rag.inline[0]: `made` is in neither file; it must have been made by"
        " `lightspeed ingest` or over REST",
        "run.yaml: providers.inference.v.config.api_key: is not a setting of remote::vllm; has no effect",
    ]


@pytest.mark.parametrize(
    "example", [pytest.param(example, id=example.name) for example in EXAMPLES if example.name != "config"]
)
def test_the_examples(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, example: Example
) -> None:
    for name, value in example.variables.items():
        monkeypatch.setenv(name, SECRET if name.endswith(("_KEY", "_PASSWORD")) else value)
    (folder / "model.gguf").touch()
    monkeypatch.setenv("LIGHTSPEED_MODEL", str(folder / "model.gguf"))
    code = run(["check", "-c", str(example.file)])
    output = capsys.readouterr()
    assert SECRET not in output.out + output.err
    assert [found.name for found in folder.iterdir()] == ["model.gguf"]
    if example.name == "byok-okp-rag":
        assert "byok_rag[0].db_path" in output.err
        assert code != 0
    elif code:
        assert example.missing is not None
        assert f"needs the Python package '{example.missing}', which is not installed" in output.err
        assert len(output.err.splitlines()) == 1
    else:
        assert output.err == ""
