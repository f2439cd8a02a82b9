"""reStructuredText: structure, what only Sphinx knows, and what must not be read."""

from pathlib import Path

import pytest

from lightspeed.documents.document import Document, DocumentError, EmptyDocument, parse_document


def document(text: str) -> Document:
    return parse_document(text.encode(), name="page.rst")


def sections(text: str) -> list[tuple[tuple[str, ...], str]]:
    return [(section.heading_trail, section.text) for section in document(text).sections]


def text(source: str) -> str:
    return "\n\n".join(body for _, body in sections(source))


def test_sections_have_trails_and_the_first_heading_is_the_title() -> None:
    source = (
        "======\nWidget\n======\n\nIntro.\n\nInstall\n=======\n\nLinux\n-----\n\nRun it.\n\nUse\n===\n\nGo.\n"
    )
    assert document(source).title == "Widget"
    assert sections(source) == [
        (("Widget",), "Intro."),
        (("Widget", "Install", "Linux"), "Run it."),
        (("Widget", "Use"), "Go."),
    ]


def test_lists_tables_and_code() -> None:
    source = (
        "- one\n- two\n\n  1. a\n  2. b\n\n"
        "Code::\n\n   x = 1\n\n   y = 2\n\n.. code-block:: sh\n   :emphasize-lines: 1\n\n   $ run\n\n"
        "==== =====\nKey  Value\n==== =====\na    1\n==== =====\n\n"
        "term\n  Meaning.\n\n:field: value\n\n.. note:: Take care.\n"
    )
    assert text(source) == (
        "- one\n- two\n  1. a\n  2. b\n\nCode:\n\n```\nx = 1\n\ny = 2\n```\n\n```sh\n$ run\n```\n\n"
        "Key | Value\n--- | ---\na | 1\n\nterm\n  Meaning.\n\nfield: value\n\nNote: Take care."
    )


def test_roles_that_docutils_does_not_know_leave_their_text(capfd: pytest.CaptureFixture[str]) -> None:
    source = (
        "See :ref:`the guide <guide>`, :py:func:`~pkg.run`, :kbd:`Ctrl+C`, :strange:`thing` and |name|.\n\n"
    )
    source += ".. |name| replace:: the *Widget*\n"
    assert text(source) == "See the guide, `pkg.run`, `Ctrl+C`, thing and the Widget."
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_directives_that_docutils_does_not_know_leave_their_text() -> None:
    source = (
        ".. tabs::\n\n   .. tab:: Linux\n\n      Use **apt**.\n\n      .. code-block:: sh\n\n         apt install\n\n"
        ".. versionadded:: 1.2\n   The ``--fast`` option.\n\n"
        ".. py:function:: run(x)\n   :module: pkg\n\n   Runs.\n\n   :param x: the x\n\n"
        ".. toctree::\n   :maxdepth: 2\n\n   one\n   two\n"
    )
    assert text(source) == (
        "Linux\n\nUse apt.\n\n```sh\napt install\n```\n\nNew in version 1.2\n\nThe `--fast` option.\n\n"
        "run(x)\n\nRuns.\n\nparam x: the x"
    )


def test_no_file_is_included_and_no_raw_markup(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    secret = tmp_path / "secret.txt"
    source = (
        f"Text.\n\n.. include:: {secret}\n\n.. literalinclude:: {secret}\n\n.. csv-table:: T\n   :file: {secret}\n\n"
        f".. raw:: html\n   :file: {secret}\n\n.. raw:: html\n\n   <b>secret</b>\n\nEnd.\n"
    )
    assert text(source) == "Text.\n\nT\n\nEnd."


def test_roles_of_one_document_are_not_known_in_the_next() -> None:
    assert text(".. role:: red\n\n.. default-role:: red\n\n`marked` :red:`text`") == "marked text"
    assert text(":red:`text`") == "text"


def test_a_broken_document_keeps_its_text() -> None:
    source = "Title\n==\n\nText with *open emphasis and ``open literal.\n\n+---+--\n| broken table\n\n  odd indent\n"
    found = text(source)
    assert all(words in found for words in ("open emphasis", "open literal.", "broken table", "odd indent"))
    assert "system" not in found.lower()


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"- " * 3000, "nested too deep"),
        (b"x\x00y", "binary content"),
        (b"text\n\n" + b"x" * 10_001, "line 3 has more than"),
        (b"*a " * 3000 + b"\n" + b"*b " * 3000, "never closed"),
        (b"x\n" * 2_100_000, "more than the limit"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, cause: str) -> None:
    with pytest.raises(DocumentError, match=rf"^a\.rst: .*{cause}"):
        parse_document(data, name="a.rst")


@pytest.mark.parametrize("source", ["", "\n \n", ".. comment\n", ".. toctree::\n\n   a\n"])
def test_documents_without_text_are_empty(source: str) -> None:
    with pytest.raises(EmptyDocument):
        document(source)
