"""`lightspeed collect` as a user would start it, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lightspeed.commands.collect import collect_command
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError, StartupError
from tests.storage.collection.ingress import IngressServer, Reply
from tests.storage.collection.settings import TOKEN

ROOT = Path(__file__).parents[2]
SOURCE = Path("file.yaml")


@pytest.fixture
def server() -> Iterator[IngressServer]:
    with IngressServer() as server:
        yield server


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTSPEED_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("NO_PROXY", "*")


def sections(tmp_path: Path, url: str | None, **changes: Any) -> dict[str, Any]:
    collector = {
        "enabled": url is not None,
        "ingress_server_url": url,
        "ingress_server_auth_token": TOKEN,
        "ingress_content_service_name": "lightspeed",
    }
    return {
        "name": "test",
        "service": {},
        "llama_stack": {"url": "http://127.0.0.1:1"},
        "user_data_collection": {
            "feedback_storage": str(tmp_path / "feedback"),
            "data_collector": collector,
            **changes,
        },
    }


def collect(tmp_path: Path, url: str | None, *, once: bool = True, **changes: Any) -> int:
    configuration = Configuration.model_validate(sections(tmp_path, url, **changes))
    return collect_command(configuration, SOURCE, once=once)


def write(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "feedback" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"{}")
    return path


def test_one_pass(server: IngressServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "a.json")
    assert collect(tmp_path, server.url) == 0
    assert collect(tmp_path, server.url) == 0
    assert not path.exists()
    assert list(server.uploads[0].files()) == ["feedback/a.json"]
    out, err = capfd.readouterr()
    assert (out, err) == ("", "1 files (2 bytes) sent in 1 archives\nnothing to send\n")


def test_one_pass_that_fails(
    server: IngressServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "a.json")
    server.replies.append(Reply(403))
    assert collect(tmp_path, server.url) == 1
    assert path.exists()
    assert capfd.readouterr().err == (
        "0 files (0 bytes) sent in 0 archives; feedback: 1 files are not sent: "
        "127.0.0.1 answered 403 Forbidden; check `ingress_server_auth_token`\n"
    )


def test_what_is_not_enabled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        collect(tmp_path, None)
    assert raised.value.problems == ["file.yaml: user_data_collection.data_collector.enabled: must be true"]


def test_without_a_directory_there_is_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="needs `feedback_storage` or `transcripts_storage`"):
        collect(tmp_path, "http://127.0.0.1:1", feedback_storage=None)


def test_a_state_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(StartupError, match="state"):
        collect(tmp_path, "http://127.0.0.1:1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_passes_until_a_signal(server: IngressServer, tmp_path: Path, number: signal.Signals) -> None:
    write(tmp_path, "a.json")
    code = (
        "import json, sys; from pathlib import Path\n"
        "from lightspeed.commands.collect import collect_command\n"
        "from lightspeed.configuration.root import Configuration\n"
        "configuration = Configuration.model_validate(json.loads(sys.argv[1]))\n"
        "code = collect_command(configuration, Path('file.yaml'), once=False)\n"
        "print('stack' if any(name.startswith('llama_stack') for name in sys.modules) else 'no stack')\n"
        "sys.exit(code)\n"
    )
    content = json.dumps(sections(tmp_path, server.url))
    with subprocess.Popen(
        [sys.executable, "-c", code, content],
        cwd=ROOT,
        env=os.environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "1 files (2 bytes) sent in 1 archives\n"
            with pytest.raises(StartupError, match="another data collector is at work"):
                collect(tmp_path, server.url, once=False)
            write(tmp_path, "b.json")
            assert collect(tmp_path, server.url) == 0  # one pass between two of the other
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "no stack\n", "")
    assert [list(upload.files()) for upload in server.uploads] == [["feedback/a.json"], ["feedback/b.json"]]
