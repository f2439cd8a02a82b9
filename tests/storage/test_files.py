import fcntl
import json
import os
import random
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lightspeed.storage.files import remove_stale_temporaries, write_atomically
from tests.storage.file_writer import CONTENT

ROOT = Path(__file__).parents[2]


def test_a_file_and_its_directories_are_made_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.json"
    write_atomically(path, b"{}")
    assert path.read_bytes() == b"{}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_replaced_and_its_mode_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"a long old text")
    write_atomically(path, b"new", mode=0o640)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "taken.json", b"{}")
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "file" / "a.json", b"{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.json"]


def test_a_cleaner_of_directories_costs_no_file(tmp_path: Path) -> None:
    done = threading.Event()
    written: list[Path] = []
    failures: list[OSError] = []

    def write() -> None:
        try:
            for number in range(150):
                path = tmp_path / "user" / "conversation" / f"{number}.json"
                write_atomically(path, b"{}")
                written.append(path)
        except OSError as error:
            failures.append(error)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    shipped = 0
    while not done.is_set() or (tmp_path / "user").exists():
        for directory, _, names in os.walk(tmp_path / "user", topdown=False):
            for name in names:
                if name.endswith(".json"):
                    Path(directory, name).unlink()
                    shipped += 1
            try:
                Path(directory).rmdir()
            except OSError:
                continue
    writer.join()
    assert failures == []
    assert shipped == len(written) == 150


def test_files_are_whole_after_a_killed_writer(tmp_path: Path) -> None:
    assert json.loads(CONTENT)["end"] is True
    chance = random.Random(3)
    abandoned = 0
    for _ in range(25):
        command = [sys.executable, "-m", "tests.storage.file_writer", str(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 8)):
            process.stdout.readline()
        time.sleep(chance.random() * 0.002)  # any moment will do: most lie within a write
        process.kill()
        process.communicate()
        assert all(path.read_bytes() == CONTENT for path in tmp_path.rglob("*.json"))
        abandoned += remove_stale_temporaries(tmp_path)
        assert list(tmp_path.rglob("*.partial")) == []
    assert list(tmp_path.rglob("*.json"))
    assert abandoned  # otherwise no writer was killed in the middle


def test_only_abandoned_temporaries_are_removed(tmp_path: Path) -> None:
    abandoned = tmp_path / "a" / ".dead.json.00.partial"
    write_atomically(tmp_path / "a" / "whole.json", b"{}")
    abandoned.touch()
    kept = {tmp_path / name for name in ("plain.partial", ".hidden.json", "whole.json")}
    for path in kept:
        path.touch()
    os.mkfifo(tmp_path / ".fifo.json.00.partial")
    (tmp_path / ".link.json.00.partial").symlink_to(tmp_path / "whole.json")
    with (tmp_path / ".live.json.00.partial").open("wb") as live:
        fcntl.flock(live, fcntl.LOCK_EX)
        assert remove_stale_temporaries(tmp_path) == 1
    assert not abandoned.exists()
    assert kept < set(tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == len(kept) + 4


def test_a_directory_that_is_missing_has_no_temporaries(tmp_path: Path) -> None:
    assert remove_stale_temporaries(tmp_path / "missing") == 0
