import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lightspeed.storage.removal import count_files, names_in, read_file, remove_folder, remove_older

NOW = datetime(2030, 1, 10, tzinfo=UTC)
SHAPE = [str.isalpha, str.isalpha, lambda name: name.endswith(".json")]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that nothing may touch."""
    folder = tmp_path / "outside"
    made(folder / "a" / "b" / "kept.json", days_old=100)
    made(folder / "kept.json", days_old=100)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def made(path: Path, *, days_old: float = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    at = (NOW - timedelta(days=days_old)).timestamp()
    os.utime(path, (at, at))
    return path


def all_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def removed_older(root: Path, days: int) -> int:
    return remove_older(root, names_in(root), NOW - timedelta(days=days), SHAPE)


def test_a_folder_goes_with_all_that_is_in_it(root: Path) -> None:
    made(root / "a" / "b" / "1.json")
    made(root / "a" / "b" / ".2.json.00.partial")
    made(root / "a" / "c" / "d" / "3.json")
    kept = made(root / "b" / "a" / "4.json")
    assert count_files(root, "a") == 2
    assert remove_folder(root, "a", "c") == 1
    assert remove_folder(root, "a") == 1
    assert remove_folder(root, "a") == 0
    made(root / "e" / "f" / "g" / "5.json")
    assert remove_folder(root, "e", "f", "g") == 1
    assert count_files(root, "a") == 0
    assert kept.exists()
    assert all_in(root) == ["b", "b/a", "b/a/4.json"]


def test_what_is_missing_is_removed_already(tmp_path: Path) -> None:
    assert remove_folder(tmp_path / "missing", "a", "b") == 0
    assert count_files(tmp_path / "missing", "a") == 0
    assert names_in(tmp_path / "missing") == []
    assert remove_older(tmp_path / "missing", ["a"], NOW, SHAPE) == 0


def test_links_inside_are_removed_and_not_followed(root: Path, outside: Path) -> None:
    before = all_in(outside)
    (root / "a").mkdir()
    (root / "a" / "folder").symlink_to(outside)
    (root / "a" / "file.json").symlink_to(outside / "kept.json")
    (root / "a" / "nowhere.json").symlink_to(root / "missing")
    remove_folder(root, "a")
    assert all_in(root) == []
    assert all_in(outside) == before


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("a", "b", "kept.json")])
def test_a_link_on_the_way_is_refused(root: Path, outside: Path, names: tuple[str, ...]) -> None:
    (root / "a").symlink_to(outside / "a")
    before = all_in(outside)
    with pytest.raises(OSError, match="a"):
        remove_folder(root, *names)
    with pytest.raises(OSError, match="a"):
        count_files(root, *names)
    assert all_in(outside) == before


def test_the_root_itself_may_be_a_link(tmp_path: Path, root: Path) -> None:
    made(root / "a" / "1.json")
    (tmp_path / "link").symlink_to(root)
    assert remove_folder(tmp_path / "link", "a") == 1
    assert (tmp_path / "link").is_symlink()


def test_old_files_go_with_the_folders_that_they_leave_empty(root: Path) -> None:
    made(root / "a" / "b" / "old.json", days_old=3)
    made(root / "a" / "c" / "old.json", days_old=3)
    made(root / "a" / "c" / "new.json", days_old=1)
    made(root / "d" / "e" / "old.json", days_old=3)
    assert removed_older(root, 2) == 3
    assert all_in(root) == ["a", "a/c", "a/c/new.json"]
    assert removed_older(root, 2) == 0


def test_what_is_not_ours_stays_however_old_it_is(root: Path, outside: Path) -> None:
    for name in ("1.json", "a/1.json", "a/b/c/1.json", "a/b/1.txt", "x1/b/1.json", "a/x1/1.json"):
        made(root / name, days_old=100)
    (root / "a" / "b" / "link.json").symlink_to(outside / "kept.json")
    (root / "a" / "link").symlink_to(outside / "a")
    (root / "link").symlink_to(outside)
    (root / "a" / "b" / "folder.json").mkdir()
    before, before_outside = all_in(root), all_in(outside)
    assert removed_older(root, 2) == 0
    assert (all_in(root), all_in(outside)) == (before, before_outside)


def test_writers_at_the_same_time_are_no_error(root: Path) -> None:
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            try:
                made(root / "a" / "b" / f"{number}.json", days_old=number % 2 * 9)
            except OSError:
                continue  # the folder is gone again

    writer = threading.Thread(target=write)
    writer.start()
    try:
        removed = 0
        while removed < 300:
            removed += removed_older(root, 5)
            removed += remove_folder(root, "a", "b")
    finally:
        done.set()
        writer.join()
    remove_folder(root, "a")
    assert all_in(root) == []


def test_only_files_are_read(root: Path, outside: Path) -> None:
    made(root / "1.json")
    (root / "link.json").symlink_to(outside / "kept.json")
    (root / "folder.json").mkdir()
    os.mkfifo(root / "pipe.json")
    assert read_file(root, "1.json") == b"{}"
    assert [read_file(root, name) for name in ("link.json", "folder.json", "pipe.json", "none.json")] == [
        None
    ] * 4
