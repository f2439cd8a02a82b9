"""Files become documents, or errors that name the file and the cause in one line."""

import hashlib
import os
from pathlib import Path

import pytest

from lightspeed.documents.chunking import Chunker, chunk_metadata
from lightspeed.documents.document import (
    DocumentError,
    EmptyDocument,
    SourceFile,
    UnsupportedFormat,
    document_id,
    find_files,
    parse_document,
    read_bytes,
)
from lightspeed.documents.formats.format import Content, Format
from lightspeed.errors import LightspeedError


def test_a_document_knows_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "install" / "quick-start.md"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"Run it.\n")
    (source,) = find_files([tmp_path / "docs"])
    document = parse_document(read_bytes(source), name=source.name, path=str(source.path))
    assert document.name == "install/quick-start.md"
    assert document.title == "Quick start"
    assert document.path == str(path)
    assert document.url is None
    assert document.content_hash == hashlib.sha256(b"Run it.\n").hexdigest()
    assert [section.text for section in document.sections] == ["Run it."]


def test_the_id_depends_on_the_name_alone(tmp_path: Path) -> None:
    here = parse_document(b"one", name="a/b.txt", path="/somewhere/a/b.txt")
    there = parse_document(b"two", name="a/b.txt")
    assert here.id == there.id == document_id("a/b.txt")
    assert here.content_hash != there.content_hash
    assert document_id("b/a.txt") != here.id


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("getting_started-here.txt", "Getting started here"),
        ("docs/networking/index.md", "Networking"),
        ("README.md", "README"),
        ("iOS-notes.txt", "iOS notes"),
        ("COPYING", "COPYING"),
    ],
)
def test_the_title_falls_back_to_the_name(name: str, title: str) -> None:
    assert parse_document(b"text without a heading", name=name).title == title


@pytest.mark.parametrize("name", ["picture.png", "program", "archive.tar.gz", ".md", "README.gz"])
def test_unsupported_types(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("text")
    with pytest.raises(UnsupportedFormat, match=r"^\S+: unsupported type"):
        read_bytes(SourceFile(tmp_path / name, name))


@pytest.mark.parametrize("data", [b"", b" \n\t\n", b"\xef\xbb\xbf \n", b"---\ntitle: T\n---\n"])
def test_files_without_text_are_empty(data: bytes) -> None:
    with pytest.raises(EmptyDocument, match=r"^a\.md: no text$"):
        parse_document(data, name="a.md")


def test_binary_content_under_a_text_suffix() -> None:
    with pytest.raises(DocumentError, match=r"^a\.txt: binary content$") as caught:
        parse_document(b"\x7fELF\x02\x01\x01\x00\x00\x00", name="a.txt")
    assert isinstance(caught.value, LightspeedError)
    assert (caught.value.path, caught.value.cause) == ("a.txt", "binary content")


def test_files_over_the_limit_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    path.write_bytes(b"x" * 11)
    with pytest.raises(DocumentError, match="11 bytes, more than the limit of 10"):
        read_bytes(SourceFile(path, "big.txt"), max_bytes=10)
    with pytest.raises(DocumentError, match="limit of 10"):
        parse_document(b"x" * 11, name="big.txt", max_bytes=10)
    assert read_bytes(SourceFile(path, "big.txt"), max_bytes=11) == b"x" * 11


def test_what_is_no_file_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(DocumentError, match="not a file"):
        read_bytes(SourceFile(tmp_path / "pipe.txt", "pipe.txt"))
    with pytest.raises(DocumentError, match="no such file"):
        read_bytes(SourceFile(tmp_path / "gone.txt", "gone.txt"))


def test_a_parser_that_trips_over_a_file_is_an_error_of_that_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(data: bytes) -> Content:
        raise LookupError("no such thing")

    monkeypatch.setattr("lightspeed.documents.document.format_of", lambda name: Format(frozenset(), read))
    with pytest.raises(DocumentError, match=r"^a\.txt: not readable \(LookupError\)$"):
        parse_document(b"text", name="a.txt")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", rb'{"title": "T\ud800", "url": "https://x/\ud800", "k\ud800": "v\udfff"}'),
        ("a.rst", b"A |x|\n=====\n\ntext |x|\n\n.. |x| unicode:: U+D800\n"),
        ("a.html", b"<title>&#xD800;</title><h1>&#xDFFF;</h1><p>x &#xD800;"),
        ("a.md", b"# A &#xD800;\n\n<p>x &#xD800;</p>"),
        ("a.adoc", b"= A &#xD800;\n\nx &#xD800;"),
    ],
)
def test_what_is_read_can_be_written_as_utf_8(name: str, data: bytes) -> None:
    found = parse_document(data, name=name)
    texts = [found.title, found.url or "", *(s.text for s in found.sections)]
    texts += [heading for s in found.sections for heading in s.heading_trail]
    "".join(texts).encode()


def test_a_page_that_is_all_title_is_not_multiplied() -> None:
    long = "word " * 20_000
    found = parse_document(
        f"<title>{long}</title><link rel=canonical href='https://x/{long}'><h1>{long}</h1>".encode(),
        name="a.html",
    )
    assert found.url is None
    assert found.title.startswith("word word")
    chunks = list(Chunker().chunks(found))
    kept = [chunk_metadata(found, chunk) for chunk in chunks]
    assert len(chunks) > 100
    assert sum(chunk.text.count("word") for chunk in chunks) >= 20_000
    assert max(len(str(value)) for metadata in kept for value in metadata.values()) <= 500


def test_a_cause_is_one_line_without_escape_sequences() -> None:
    assert str(DocumentError("a\nb\x1b[31m\x9b.md", "no text")) == "a\ufffdb\ufffd[31m\ufffd.md: no text"
