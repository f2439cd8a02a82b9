"""`lightspeed -d` and `lightspeed -s`."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightspeed.cli import run

SECRET = "c4nary-hunter2"
MINIMAL: dict[str, Any] = {
    "name": "n",
    "service": {},
    "llama_stack": {"use_as_library_client": True},
    "user_data_collection": {},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIGHTSPEED_STATE", str(tmp_path / "state"))
    return tmp_path


def write(folder: Path, **more: Any) -> None:
    (folder / "lightspeed-stack.yaml").write_text(yaml.safe_dump(MINIMAL | more))


@pytest.mark.parametrize("arguments", [["-d"], ["--dump-configuration"], ["-d", "-s"]])
def test_the_configuration_is_dumped_without_secrets(folder: Path, arguments: list[str]) -> None:
    native = {"server": {"auth": {"token": SECRET}}, "x": f"http://u:{SECRET}@h"}
    entry = {
        "type": "openai",
        "api_key": SECRET,
        "base_url": f"https://u:{SECRET}@h/v1",
        "extra": {"client_secret": SECRET, "max_tokens": 5},
    }
    write(
        folder,
        llama_stack={"use_as_library_client": True, "config": {"native_override": native}},
        database={"postgres": {"db": "d", "user": "u", "password": SECRET}},
        inference={"providers": [entry]},
    )
    assert run(arguments) == 0
    assert sorted(file.name for file in folder.iterdir()) == ["configuration.json", "lightspeed-stack.yaml"]
    text = (folder / "configuration.json").read_text()
    assert SECRET not in text
    dump = json.loads(text)
    assert list(dump)[:4] == ["name", "service", "llama_stack", "user_data_collection"]
    assert dump["service"]["port"] == 8080
    assert dump["database"]["postgres"]["password"] == "**********"
    assert dump["inference"]["providers"][0]["base_url"] == "https://**********@h/v1"
    assert dump["inference"]["providers"][0]["extra"] == {"client_secret": "**********", "max_tokens": 5}


@pytest.mark.parametrize("arguments", [["-s"], ["--dump-schema", "-c", "lightspeed-stack.yaml"]])
def test_the_schema_is_dumped(folder: Path, arguments: list[str]) -> None:
    write(folder)
    assert run(arguments) == 0
    assert sorted(file.name for file in folder.iterdir()) == ["lightspeed-stack.yaml", "schema.json"]
    schema = json.loads((folder / "schema.json").read_text())
    assert schema["openapi"] == "3.0.0"
    assert "Configuration" in schema["components"]["schemas"]


@pytest.mark.parametrize("option", ["-d", "-s"])
def test_a_file_with_mistakes_is_not_dumped(
    folder: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, service={"port": 0})
    assert run([option]) == 1
    assert (
        capsys.readouterr().err == "lightspeed: lightspeed-stack.yaml: service.port: must be greater than 0\n"
    )
    assert [file.name for file in folder.iterdir()] == ["lightspeed-stack.yaml"]


def test_a_dump_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder)
    (folder / "schema.json").mkdir()
    assert run(["-s"]) == 1
    assert capsys.readouterr().err.startswith(f"lightspeed: {folder}/schema.json: cannot be written: ")
