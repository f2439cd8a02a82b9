"""What cannot work ends in one clear line and an exit code, never in a traceback."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scripted_model import ScriptedModel
from tests.service.conftest import configuration_files


def run(tmp_path: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and standard error of `lightspeed` with these arguments."""
    variables = {**os.environ, "LIGHTSPEED_STATE": str(tmp_path / "state"), **environment}
    variables.pop("OPENAI_API_KEY", None)
    done = subprocess.run(
        [sys.executable, "-m", "lightspeed", *arguments],
        capture_output=True,
        env=variables,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stderr


def assert_told(result: tuple[int, str], code: int, *lines: str) -> None:
    status, text = result
    assert status == code, text
    assert "Traceback" not in text
    complaints = [line for line in text.splitlines() if line.startswith("lightspeed: ")]
    assert len(complaints) == len(lines), text
    for complaint, expected in zip(complaints, lines, strict=True):
        assert expected in complaint


@pytest.fixture
def files(tmp_path: Path, model: ScriptedModel) -> Path:
    return configuration_files(tmp_path, tmp_path / "state", model)


type Change = Callable[[Path], None]


def replace(old: str, new: str) -> Change:
    def change(file: Path) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda file: file.unlink(), "lightspeed-stack.yaml: no such file"),
        (lambda file: file.write_text("name: [1,"), "is not valid YAML"),
        (lambda file: file.write_text(""), "is empty"),
        (replace("name:", "nmae:"), "nmae"),
        (replace("host: 127.0.0.1", "host: ${env.UNSET_VARIABLE}"), "UNSET_VARIABLE"),
        (replace("run.yaml", "walk.yaml"), "no such file"),
    ],
    ids=["missing", "broken", "empty", "unknown key", "unset variable", "no run.yaml"],
)
def test_a_wrong_configuration_file(tmp_path: Path, files: Path, change: Change, line: str) -> None:
    change(files)
    status, text = run(tmp_path, "serve", "-c", str(files))
    assert status == 1
    assert line in text
    assert "Traceback" not in text
    assert all(entry.startswith("lightspeed: ") for entry in text.splitlines() if entry)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda file: file.write_text("- a\n- b\n"), "must be a mapping"),
        (replace("remote::openai", "remote::nobody"), "there is no provider type 'remote::nobody'"),
        (replace("base_url:", "base_url: ${env.UNSET_VARIABLE} #"), "UNSET_VARIABLE"),
        (replace("kv_sqlite", "kv_stone"), "storage.backends"),
    ],
    ids=["no mapping", "unknown provider", "unset variable", "unknown backend"],
)
def test_a_wrong_run_configuration(tmp_path: Path, files: Path, change: Change, line: str) -> None:
    change(files.parent / "run.yaml")
    status, text = run(tmp_path, "serve", "-c", str(files), "--port", "0")
    assert status == 1, text
    assert line in text
    assert "Traceback" not in text


def test_an_occupied_port(tmp_path: Path, files: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert_told(
            run(tmp_path, "serve", "-c", str(files), "--port", str(port)),
            1,
            f"cannot listen on 127.0.0.1:{port}: another program uses this port",
        )


@pytest.mark.parametrize(
    ("content", "line"),
    [(None, "no such file"), (b"", "empty"), (b"not a model at all", "GGUF")],
    ids=["missing", "empty", "other file"],
)
def test_a_wrong_model_file(tmp_path: Path, content: bytes | None, line: str) -> None:
    gguf = tmp_path / "model.gguf"
    if content is not None:
        gguf.write_bytes(content)
    status, text = run(tmp_path, "serve", "--port", "0", LIGHTSPEED_MODEL=str(gguf))
    assert status == 3, text
    assert str(gguf) in text
    assert "Traceback" not in text
    complaints = [entry for entry in text.splitlines() if entry.startswith("lightspeed: ")]
    assert len(complaints) == 1
    assert line.lower() in complaints[0].lower()


def test_features_that_are_not_there_yet_are_refused_by_name(tmp_path: Path, model: ScriptedModel) -> None:
    file = configuration_files(
        tmp_path,
        tmp_path / "state",
        model,
        compaction={"enabled": True},
    )
    assert_told(
        run(tmp_path, "serve", "-c", str(file)), 1, "compaction.enabled: is not supported by this version yet"
    )


def test_wrong_arguments(tmp_path: Path) -> None:
    assert run(tmp_path, "--colour")[0] == 2
    assert run(tmp_path, "fly")[0] == 2
    assert run(tmp_path, "ask")[0] == 2


def test_help_and_version(tmp_path: Path) -> None:
    for arguments in (("-h",), ("--help",), ("serve", "-h"), ("ask", "-h"), ("ingest", "-h"), ("--version",)):
        status, text = run(tmp_path, *arguments)
        assert status == 0, text


def test_a_path_that_does_not_exist_cannot_be_ingested(tmp_path: Path) -> None:
    status, text = run(tmp_path, "ingest", str(tmp_path / "nothing"))
    assert status == 1
    assert "nothing" in text
    assert "Traceback" not in text
