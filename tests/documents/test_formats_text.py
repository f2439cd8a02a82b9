"""Plain text and its encodings."""

import random

import pytest

from lightspeed.documents.document import DocumentError, parse_document
from lightspeed.documents.formats.registry import format_of, known_formats

GERMAN = (
    "Die Größe der Schlüssel hängt natürlich vom Gerät ab. Bitte prüfen Sie die Übertragung täglich. " * 5
)
RUSSIAN = "Система хранит документы и отвечает на вопросы пользователей про продукт. " * 5


def text_of(data: bytes, name: str = "a.txt") -> str:
    return "\n\n".join(section.text for section in parse_document(data, name=name).sections)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings(encoding: str) -> None:
    assert text_of(GERMAN.encode(encoding)) == GERMAN.strip()


def test_detected_encoding_of_another_script() -> None:
    assert text_of(RUSSIAN.encode("cp1251")) == RUSSIAN.strip()


def test_a_few_broken_bytes_do_not_turn_utf_8_into_something_else() -> None:
    text = text_of(GERMAN.encode() + b"\xff broken " + GERMAN.encode())
    assert text.startswith(GERMAN.strip())
    assert "\ufffd broken" in text


@pytest.mark.parametrize(
    "data", [random.Random(1).randbytes(4000), b"\x01\x02\x03" * 100, b"\xff\xfea\x00\x00", b"ab\x00cd"]
)
def test_binary_and_undecodable_content(data: bytes) -> None:
    with pytest.raises(DocumentError, match=r"^a\.txt: (binary content|not valid|undecodable)"):
        parse_document(data, name="a.txt")


def test_line_ends_and_page_breaks_are_normalised() -> None:
    assert text_of(b"\r\none\r\ntwo\rthree\x0cfour") == "one\ntwo\nthree\n\nfour"


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("A.TXT", ".txt"),
        ("x.log", ".txt"),
        ("README", ".txt"),
        ("LICENSE", ".txt"),
        ("a.MD", ".md"),
        ("a.xhtml", ".html"),
    ],
)
def test_the_registry_finds_the_format(name: str, suffix: str) -> None:
    found = format_of(name)
    assert found is not None
    assert suffix in found.suffixes


@pytest.mark.parametrize("name", [".txt", "txt", "readme.exe", "a.txt.gz", "Makefile"])
def test_the_registry_refuses_what_it_does_not_know(name: str) -> None:
    assert format_of(name) is None


def test_no_two_formats_claim_a_name() -> None:
    claims = [claim for known in known_formats() for claim in (*known.suffixes, *known.stems)]
    assert len(claims) == len(set(claims))
    assert all(claim == claim.lower() for claim in claims)
