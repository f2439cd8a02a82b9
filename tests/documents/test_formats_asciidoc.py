"""AsciiDoc: sections, blocks, lists, tables, what stands in a line, and what is left out."""

import pytest

from lightspeed.documents.document import Document, DocumentError, EmptyDocument, parse_document


def document(text: str) -> Document:
    return parse_document(text.encode(), name="page.adoc")


def sections(text: str) -> list[tuple[tuple[str, ...], str]]:
    return [(section.heading_trail, section.text) for section in document(text).sections]


def text(source: str) -> str:
    return "\n\n".join(body for _, body in sections(source))


def test_the_header_gives_the_title_and_attributes() -> None:
    source = "= {product} Guide\nJane Doe <jane@example.com>\n:product: Widget\n:!toc:\n:long: one \\\n two\n\n{product} has {long} parts.\n"
    assert document(source).title == "Widget Guide"
    assert sections(source) == [
        (("Widget Guide",), "Jane Doe <jane@example.com>\n\nWidget has one two parts.")
    ]


def test_sections_have_trails_in_both_styles() -> None:
    source = (
        "= Doc\n\n== One\n\ntext\n\n=== Deep ===\n\nmore\n\nTwo\n---\n\nend\n\n[discrete]\n## Three\n\nlast"
    )
    assert sections(source) == [
        (("Doc", "One"), "text"),
        (("Doc", "One", "Deep"), "more"),
        (("Doc", "Two"), "end"),
        (("Doc", "Three"), "last"),
    ]


def test_listings_are_verbatim_in_fences() -> None:
    source = '.Install\n[source,bash,subs="attributes"]\n----\n$ dnf install {x}\n\n== not a section\n----\n<1> Comment\n\n....\n* no list\n....\n\n```py\nx\n```\n\n literal\n  text'
    assert text(source) == (
        "Install\n\n```bash\n$ dnf install {x}\n\n== not a section\n```\n\n<1> Comment\n\n```\n* no list\n```\n\n"
        "```py\nx\n```\n\n```\n literal\n  text\n```"
    )


def test_lists() -> None:
    source = "* one\nwrapped\n** deep\n\n* two\n+\nattached\n\n. first\n.. sub\n. second\n\nCPU:: The processor\nRAM::\n  Memory"
    assert text(source) == (
        "- one\n  wrapped\n  - deep\n- two\n\nattached\n\n1. first\n  1. sub\n2. second\nCPU\n  The processor\nRAM\n  Memory"
    )


def test_numbers_go_on_after_what_is_attached_to_an_item() -> None:
    source = (
        ':_type: PROCEDURE\n[id="x_{context}"]\n= Install\n\n.Procedure\n\n. Log in:\n+\n[source,terminal]\n----\n$ login\n----\n\n'
        ". Check:\n+\n--\nSome.\n\nMore.\n--\n.. Deep\n. Done\n\nBetween.\n\n. Other\n"
    )
    assert sections(source) == [
        (
            ("Install",),
            "Procedure\n\n1. Log in:\n\n```terminal\n$ login\n```\n\n2. Check:\n\nSome.\n\nMore.\n\n"
            "  1. Deep\n3. Done\n\nBetween.\n\n1. Other",
        )
    ]


def test_admonitions_and_other_blocks() -> None:
    source = "NOTE: Take care.\n\n[WARNING]\n====\nStop.\n\nReally.\n====\n\n[TIP]\nEasy.\n\n****\nAside.\n****\n\n[quote,Me]\n____\nSaid.\n____\n\n++++\n<p>Raw <b>page</b></p>\n++++"
    assert text(source) == (
        "NOTE: Take care.\n\nWARNING: Stop.\n\nReally.\n\nTIP: Easy.\n\nAside.\n\nSaid.\n\nRaw page"
    )


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("|===\n|Name |Port\n\n|web\n|80\n|===", "Name | Port\n--- | ---\nweb | 80"),
        ('[%header,cols="1,2a"]\n|===\n|A\n|B\n|x \\| y\n|z\n|===', "A | B\n--- | ---\nx | y | z"),
        ("|===\n|a |b\n2+|both\n|===", "a | b\nboth |"),
        (',===\na,b\n"c,d",e\n,===', "a | b\nc,d | e"),
        (".Ports\n|===\n|a\n|===", "Ports\n\na"),
    ],
)
def test_tables(source: str, lines: str) -> None:
    assert text(source) == lines


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("https://example.com[the site^] and link:a.html[A, window=_blank]", "the site and A"),
        ("<<setup,Setup>> xref:other.adoc#x[Other] <<plain>>", "Setup Other plain"),
        (
            "kbd:[Ctrl+C] menu:File[Save > As] btn:[OK] image:x.png[A chart,300]",
            "Ctrl+C File > Save > As OK A chart",
        ),
        (
            "[[anchor]]Here(((index,term))) ((shown)) [.red]#marked# `+raw+` pass:[x]",
            "Here shown marked `raw` x",
        ),
        ("A note.footnote:[Below.] caf&#233; \\{kept} {unknown}", "A note. (Below.) café {kept} {unknown}"),
        ("image::diagram.png[Architecture, 300]", "Architecture"),
    ],
)
def test_what_stands_in_a_line(source: str, shown: str) -> None:
    assert text(source) == shown


def test_included_files_and_comments_are_left_out_conditions_are_not() -> None:
    source = "Text.\n\ninclude::/etc/hostname[]\n\n// no\n\n////\nno\n////\n\nifdef::x[]\nInside.\nendif::[]\n\nifndef::y[Also.]\n"
    assert text(source) == "Text.\n\nInside.\n\nAlso."


def test_a_block_that_is_never_closed_is_text() -> None:
    assert sections("----\ncode\n\n== Section\n\ntext\n\n|===\n|a") == [
        ((), "----\ncode"),
        (("Section",), "text\n\n|===\n|a"),
    ]


def test_attributes_that_name_each_other_do_not_grow_without_end() -> None:
    source = (
        ":a: "
        + "x" * 1000
        + "\n"
        + "".join(f":a{n}: {'{a}' * 9}{{a{n - 1}}}{{a{n - 1}}}\n" for n in range(1, 40))
    )
    assert len(text(source + "\n{a39}{a38}")) < 5_000_000


@pytest.mark.parametrize(
    "part", ["<<a", "((", "[[", "{a}", "|===\n", "----\n", "a::\n", "a\n-\n", "kbd:[", "#a", "+"]
)
def test_broken_markup_does_not_take_long(part: str) -> None:
    assert text("x\n\n" + part * 10_000).startswith("x")


def test_empty_and_binary_files() -> None:
    with pytest.raises(EmptyDocument):
        document("// only a comment\n:attribute: x\n")
    with pytest.raises(DocumentError, match="binary"):
        parse_document(b"= T\n\0", name="a.adoc")
