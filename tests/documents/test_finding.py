"""Which files are found, in which order and under which names."""

import os
import re
from pathlib import Path

import pytest

from lightspeed.documents.finding import DocumentError, find_files, searched_roots


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def found(*paths: Path | str) -> list[str]:
    return [source.name for source in find_files(paths)]


def test_folders_are_walked_in_sorted_order_without_hidden_files_and_junk(tmp_path: Path) -> None:
    write(tmp_path, "b.md", "a/z.md", "a/b/c.txt", "c.md")
    write(tmp_path, ".git/config", ".hidden", "node_modules/x.md", "a/__pycache__/y.pyc", "b.md~")
    assert found(tmp_path) == ["a/b/c.txt", "a/z.md", "b.md", "c.md"]


def test_sources_beside_the_pages_that_sphinx_made_of_them_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, "site/a.html", "site/_sources/a.rst.txt", "site/objects.inv", "own/_sources/b.txt")
    assert found(tmp_path) == ["own/_sources/b.txt", "site/a.html", "site/objects.inv"]
    assert found(tmp_path / "site" / "_sources") == ["a.rst.txt"]


def test_a_single_file_is_named_by_its_file_name(tmp_path: Path) -> None:
    write(tmp_path, "guide/a.md")
    (source,) = find_files([tmp_path / "guide" / "a.md"])
    assert (source.name, source.path) == ("a.md", tmp_path / "guide" / "a.md")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.md", ["a.md", "b1.md", "b2.md"]),
        ("b?.md", ["b1.md", "b2.md"]),
        ("b[!2].md", ["b1.md"]),
        ("b[1-9].*", ["b1.md", "b2.md"]),
        ("**/*.md", ["a.md", "b1.md", "b2.md", "sub/c.md", "sub/deep/d.md"]),
        ("**/deep/*", ["sub/deep/d.md"]),
        ("s*", ["sub/c.md", "sub/deep/d.md", "sub/e.txt"]),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, names: list[str]) -> None:
    write(tmp_path, "a.md", "b1.md", "b2.md", "sub/c.md", "sub/deep/d.md", "sub/e.txt")
    assert found(f"{tmp_path}/{pattern}") == names


def test_a_literal_name_wins_over_a_pattern(tmp_path: Path) -> None:
    write(tmp_path, "[draft].md", "d.md")
    assert found(tmp_path / "[draft].md") == ["[draft].md"]


@pytest.mark.parametrize("missing", ["nothing.md", "*.rst", "nowhere/*.md"])
def test_a_path_that_does_not_exist_is_an_error_before_the_first_file(tmp_path: Path, missing: str) -> None:
    write(tmp_path, "a.md")
    with pytest.raises(DocumentError, match=r"no (such file|file matches)"):
        find_files([tmp_path, f"{tmp_path}/{missing}"])


def test_links_are_followed_last_and_loops_end(tmp_path: Path) -> None:
    write(tmp_path, "docs/v2/a.md", "outside/o.md")
    (tmp_path / "docs" / "latest").symlink_to("v2")
    (tmp_path / "docs" / "v2" / "loop").symlink_to("..")
    (tmp_path / "docs" / "alias.md").symlink_to("v2/a.md")
    (tmp_path / "docs" / "broken.md").symlink_to("gone.md")
    (tmp_path / "docs" / "self").symlink_to("self")
    (tmp_path / "docs" / "extra").symlink_to(tmp_path / "outside")
    assert found(tmp_path / "docs") == ["v2/a.md", "extra/o.md"]


def test_files_mounted_through_a_hidden_folder_are_found(tmp_path: Path) -> None:
    write(tmp_path, "..2026_01/a.md")
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "a.md").symlink_to("..data/a.md")
    assert found(tmp_path) == ["a.md"]


def test_pipes_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, "a.md")
    os.mkfifo(tmp_path / "pipe.md")
    assert found(tmp_path) == ["a.md"]


def test_a_file_is_given_once_and_names_stay_unique(tmp_path: Path) -> None:
    write(tmp_path, "one/README.md", "two/README.md")
    one, two = tmp_path / "one", tmp_path / "two"
    assert found(one, one / "README.md", two) == ["README.md", "two/README.md"]


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.md", "closed/b.md")
    closed = tmp_path / "closed"
    real_iterdir = Path.iterdir

    def refuse(folder: Path):
        if folder == closed:
            raise PermissionError(13, "Permission denied")
        return real_iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)  # the tests may run as root, who may read everything
    errors: list[DocumentError] = []
    assert [source.name for source in find_files([tmp_path], on_error=errors.append)] == ["a.md"]
    assert [str(error) for error in errors] == [f"{closed}: permission denied"]
    with pytest.raises(DocumentError, match="permission denied"):
        list(find_files([tmp_path]))


def test_files_know_what_was_given_by_an_id_that_tells_nothing(tmp_path: Path) -> None:
    write(tmp_path, "docs/a.md", "docs/sub/b.md", "other/c.md")
    docs = tmp_path / "docs"
    a, b = find_files([docs])
    (c,) = find_files([tmp_path / "other"])
    assert a.root == b.root != c.root
    assert re.fullmatch("[0-9a-f]{32}", a.root)
    (alone,) = find_files([docs / "a.md"])
    assert alone.root == a.root
    (matched,) = find_files([f"{docs}/a*"])
    assert matched.root != a.root
    (tmp_path / "link").symlink_to(docs)
    assert {source.root for source in find_files([tmp_path / "link"])} == {a.root}


def test_folders_and_patterns_are_searched_roots_and_files_are_not(tmp_path: Path) -> None:
    write(tmp_path, "docs/a.md", "docs/b.md")
    docs, pattern = str(tmp_path / "docs"), f"{tmp_path}/docs/*.md"
    roots = searched_roots([docs, f"{docs}/a.md", pattern])
    assert list(roots.values()) == [docs, pattern]
    assert set(roots) == {source.root for given in (docs, pattern) for source in find_files([given])}
    assert searched_roots([f"{docs}/a.md"]) == {}
    with pytest.raises(DocumentError, match="no such file"):
        searched_roots([docs, f"{docs}/nothing"])
