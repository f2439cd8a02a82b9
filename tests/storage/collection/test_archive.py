import errno
import io
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightspeed.storage.collection import archive as archive_module
from lightspeed.storage.collection.archive import Archive, Contents
from lightspeed.storage.collection.source_files import find_files
from tests.limited_files import largest_file


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(tmp_path / "state")
    yield archive
    archive.close()


def packed(archive: Archive, root: Path) -> tuple[Contents, bytes]:
    contents = archive.pack(root, "kind", sorted(find_files(root, on_error=fail), key=lambda file: file.path))
    return contents, archive.read(0, archive.size)


def fail(error: OSError) -> None:
    raise error


def files_below(root: Path) -> None:
    """The longest names that transcripts have, and an odd one."""
    for name in (f"{'f' * 64}/{'c' * 36}/{'t' * 36}.json", "a.json", "ä\udcff.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(os.fsencode(name) * 1000)
        os.utime(root / name, ns=(1_900_000_000_123_456_789,) * 2)


def test_the_same_files_make_the_same_bytes(tmp_path: Path, archive: Archive) -> None:
    for place in ("one", "two"):
        files_below(tmp_path / place)
    (tmp_path / "two" / "a.json").chmod(0o644)
    contents, content = packed(archive, tmp_path / "one")
    assert len(contents.files) == 3
    assert packed(archive, tmp_path / "two")[1] == content
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [
        "kind/a.json",
        f"kind/{'f' * 64}/{'c' * 36}/{'t' * 36}.json",
        "kind/ä\udcff.json",
    ]
    assert {
        (member.uid, member.gid, member.uname, member.gname, member.mode, member.mtime) for member in members
    } == {(0, 0, "", "", 0o644, 1_900_000_000)}
    assert content[4:8] == bytes(4)  # gzip's own time
    assert os.fsencode(tmp_path) not in content
    assert list((tmp_path / "state").iterdir()) == []


def test_other_content_makes_other_bytes(tmp_path: Path, archive: Archive) -> None:
    files_below(tmp_path / "one")
    _, before = packed(archive, tmp_path / "one")
    (tmp_path / "one" / "a.json").write_bytes(b"other")
    assert packed(archive, tmp_path / "one")[1] != before


def test_files_that_are_others_by_now_are_left_out(tmp_path: Path, archive: Archive) -> None:
    files_below(tmp_path)
    for name in ("gone", "link", "directory", "replaced", "pipe", "socket", "under/gone"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.json").write_bytes(b"{}")
    files = list(find_files(tmp_path, on_error=fail))
    (tmp_path / "under" / "gone.json").unlink()
    (tmp_path / "under").rmdir()
    (tmp_path / "under").touch()
    for name in ("gone", "link", "directory", "replaced", "pipe", "socket"):
        (tmp_path / f"{name}.json").unlink()
    (tmp_path / "link.json").symlink_to(tmp_path / "a.json")
    (tmp_path / "directory.json").mkdir()
    (tmp_path / "replaced.json").write_bytes(b"{ }")
    os.mkfifo(tmp_path / "pipe.json")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.json"))
        contents = archive.pack(tmp_path, "kind", files)
    assert {file.path for file in files} - {file.path for file in contents.files} == {
        "gone.json",
        "link.json",
        "directory.json",
        "replaced.json",
        "pipe.json",
        "socket.json",
        "under/gone.json",
    }
    assert contents.unreadable == 0


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_files_that_must_not_be_read_are_counted(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    files_below(tmp_path)
    fail_to_open(monkeypatch, "a.json", number)
    contents, _ = packed(archive, tmp_path)
    assert (len(contents.files), contents.unreadable) == (2, 1)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ENOSPC])
def test_trouble_of_the_moment_does_not_look_like_a_file_that_is_gone(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    files_below(tmp_path)
    fail_to_open(monkeypatch, "a.json", number)
    with pytest.raises(OSError, match=os.strerror(number)):
        packed(archive, tmp_path)


def fail_to_open(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """The real causes do not hold for root, who may run this, or would stop the other tests."""
    real = archive_module._opener

    def opener(path: str, flags: int) -> int:
        if os.fspath(path).endswith(name):
            raise OSError(number, os.strerror(number))
        return real(path, flags)

    monkeypatch.setattr(archive_module, "_opener", opener)


@pytest.mark.parametrize("content", [b"", b"x" * 5000])
def test_a_file_that_changes_while_it_is_read_is_left_out(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    files_below(tmp_path)
    (tmp_path / "b.json").write_bytes(b"old" * 1000)
    add = tarfile.TarFile.addfile

    def meanwhile(tar: tarfile.TarFile, member: tarfile.TarInfo, source: io.BufferedReader) -> None:
        if member.name == "kind/b.json":
            (tmp_path / "b.json").write_bytes(content)
        add(tar, member, source)

    monkeypatch.setattr(archive_module.tarfile.TarFile, "addfile", meanwhile)
    contents, _ = packed(archive, tmp_path)
    assert len(contents.files) == 3
    with tarfile.open(fileobj=io.BytesIO(archive.read(0, archive.size))) as tar:
        assert len(tar.getnames()) == 3
        assert "kind/b.json" not in tar.getnames()


def test_a_full_disk_is_told_once(tmp_path: Path) -> None:
    # So little too much that some of it is still in memory when the archive is closed.
    (tmp_path / "a.json").write_bytes(os.urandom(1_000_000))
    archive = Archive(tmp_path / "state")
    with largest_file(1_000_000):
        with pytest.raises(OSError, match="File too large"):
            packed(archive, tmp_path)
        archive.close()
    assert list((tmp_path / "state").iterdir()) == []


def test_an_archive_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(OSError, match="state"):
        Archive(tmp_path / "state").pack(tmp_path, "kind", [])
