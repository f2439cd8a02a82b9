"""PDF: pages, titles, broken words, and files that cannot be opened."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from lightspeed.documents.document import Document, DocumentError, parse_document


def pdf(*pages: str, title: str = "", trailer: str = "") -> bytes:
    """A small PDF; each page is lines of text."""
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{' '.join(f'{5 + 2 * i} 0 R' for i in range(len(pages)))}] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Title ({title}) >>",
    ]
    font = "/Resources << /Font << /F1 3 0 R >> >>"
    for index, page in enumerate(pages):
        shown = " ".join(f"({line}) Tj 0 -14 Td" for line in page.split("\n"))
        stream = f"BT /F1 12 Tf 72 720 Td {shown} ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] {font} /Contents {6 + 2 * index} 0 R >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    return (
        data
        + (
            f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n"
            f"<< /Size {len(objects) + 1} /Root 1 0 R /Info 4 0 R {trailer} >>\nstartxref\n{len(data)}\n%%EOF\n"
        ).encode()
    )


def document(data: bytes) -> Document:
    return parse_document(data, name="user-manual.pdf")


def test_each_page_with_text_is_a_section() -> None:
    found = document(pdf("Hello world.\nSecond line.", "", "Last page.", title="The Manual"))
    assert found.title == "The Manual"
    assert [(s.heading_trail, s.text) for s in found.sections] == [
        (("page 1",), "Hello world.\nSecond line."),
        (("page 3",), "Last page."),
    ]


@pytest.mark.parametrize("title", ["", "untitled", "Microsoft Word - draft3.doc", "thesis.dvi"])
def test_a_title_that_says_nothing_falls_back_to_the_name(title: str) -> None:
    assert document(pdf("Text.", title=title)).title == "User manual"


def test_words_broken_at_a_line_end_are_joined() -> None:
    (section,) = document(pdf("The con-\nfiguration of a Wi-\nFi card.")).sections
    assert section.text == "The configuration of a Wi-Fi card."


def test_a_pdf_without_text() -> None:
    with pytest.raises(DocumentError, match=r"^user-manual\.pdf: no text in the PDF"):
        document(pdf("", ""))


def test_an_encrypted_pdf() -> None:
    key = "00" * 32
    encrypted = f"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{key}> /U <{key}> >> /ID [<00> <00>]"
    with pytest.raises(DocumentError, match=r"^user-manual\.pdf: encrypted PDF$"):
        document(pdf("Secret.", trailer=encrypted))


@pytest.mark.parametrize("data", [b"%PDF-1.7\nnothing follows", b"<html>no PDF</html>", pdf("x")[:60]])
def test_a_broken_pdf(data: bytes) -> None:
    with pytest.raises(DocumentError, match=r"^user-manual\.pdf: broken PDF$"):
        document(data)


def test_threads_may_read_at_the_same_time() -> None:
    files = [pdf(*(f"File {number} page {page}." for page in range(20))) for number in range(8)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(document, files))
    for number, one in enumerate(found):
        assert [s.text for s in one.sections] == [f"File {number} page {page}." for page in range(20)]
