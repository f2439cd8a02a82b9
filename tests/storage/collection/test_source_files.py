import os
from pathlib import Path

from lightspeed.storage.collection.source_files import SourceFile, find_files, in_batches, remove_files


def found(root: Path, *without: str) -> list[SourceFile]:
    errors: list[OSError] = []
    files = list(find_files(root, without=without, on_error=errors.append))
    assert errors == []
    return files


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_files_are_found_in_a_stable_order(tmp_path: Path) -> None:
    names = ["b.json", "a.json", "u/c/2.json", "u/c/1.json", "u/b/3.json", "note.txt", ".hidden.json.partial"]
    write(tmp_path, *names)
    os.mkfifo(tmp_path / "pipe.json")
    files = found(tmp_path)
    assert [file.path for file in files] == ["a.json", "b.json", "u/b/3.json", "u/c/1.json", "u/c/2.json"]
    status = (tmp_path / "a.json").stat()
    assert files[0] == SourceFile("a.json", 6, status.st_mtime_ns, status.st_ino)


def test_a_root_may_be_a_link_and_may_be_missing(tmp_path: Path) -> None:
    write(tmp_path / "real", "a.json", "other/b.json")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert [file.path for file in found(tmp_path / "link")] == ["a.json", "other/b.json"]
    assert [file.path for file in found(tmp_path / "link", f"{tmp_path}/real/other")] == ["a.json"]
    assert found(tmp_path / "missing") == []


def test_a_root_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    write(tmp_path, "file")
    errors: list[OSError] = []
    assert list(find_files(tmp_path / "file", on_error=errors.append)) == []
    assert [type(error) for error in errors] == [NotADirectoryError]


def test_batches_are_bounded_and_sorted() -> None:
    sizes = [10_000, 10_000, 200_000, 10_000, 80_000, 20_000]
    files = [SourceFile(f"{9 - number}.json", size, 0, 0) for number, size in enumerate(sizes)]
    batches = list(in_batches(files, most_bytes=100_000, most_files=10))
    assert [[file.size for file in batch] for batch in batches] == [
        [10_000, 10_000],
        [200_000],
        [80_000, 10_000],
        [20_000],
    ]
    assert [len(batch) for batch in in_batches(files, most_bytes=10**6, most_files=4)] == [4, 2]
    assert list(in_batches([], most_bytes=1, most_files=1)) == []


def test_files_are_removed_with_the_directories_that_they_leave_empty(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, "a.json", "u/c/1.json", "u/c/2.json", "u/d/3.json", "v/e/4.json")
    files = found(root)
    write(root, "v/other.txt")
    assert remove_files(root, files) == []
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == ["v", "v/other.txt"]
    assert remove_files(root, files) == []


def test_a_removal_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    write(tmp_path, "u/c/1.json", "u/d/2.json")
    files = found(tmp_path)
    (tmp_path / "u/c/1.json").unlink()
    (tmp_path / "u/d/2.json").unlink()
    (tmp_path / "u/d").rmdir()
    assert remove_files(tmp_path, files) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_another_one_stays(tmp_path: Path) -> None:
    write(tmp_path, "content.json", "time.json", "replaced.json", "link.json")
    files = found(tmp_path)
    (tmp_path / "content.json").write_bytes(b"more than before")
    os.utime(tmp_path / "time.json", ns=(1, 1))
    status = (tmp_path / "replaced.json").stat()
    (tmp_path / "replaced.json").rename(tmp_path / "old.txt")
    write(tmp_path, "replaced.json")
    os.utime(tmp_path / "replaced.json", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "link.json").rename(tmp_path / "target.txt")
    (tmp_path / "link.json").symlink_to("target.txt")
    before = sorted(tmp_path.iterdir())
    assert remove_files(tmp_path, files) == []
    assert sorted(tmp_path.iterdir()) == before
