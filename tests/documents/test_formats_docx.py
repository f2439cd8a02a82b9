"""Word documents: headings, lists, tables, and archives that are not what they seem."""

import io
import zipfile
from collections.abc import Mapping

import pytest

from lightspeed.documents.document import Document, DocumentError, EmptyDocument, parse_document

_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml"
_NAMESPACE = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
TYPES = (
    f'<?xml version="1.0"?><Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/word/document.xml" ContentType="{_WORD}.document.main+xml"/></Types>'
)
LINKS = (
    f'<?xml version="1.0"?><Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
    f'Type="{_OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>'
)
WORD_LINKS = (
    f'<?xml version="1.0"?><Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="r1" Type="{_OFFICE}/numbering" Target="numbering.xml"/>'
    f'<Relationship Id="r2" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>'
)
NUMBERING = (
    f'<?xml version="1.0"?><w:numbering {_NAMESPACE}><w:abstractNum w:abstractNumId="0">'
    + "".join(f'<w:lvl w:ilvl="{level}"><w:numFmt w:val="bullet"/></w:lvl>' for level in range(2))
    + '</w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num></w:numbering>'
)
STYLES = (
    f'<?xml version="1.0"?><w:styles {_NAMESPACE}>'
    '<w:style w:type="paragraph" w:styleId="Code"><w:name w:val="Code"/></w:style>'
    '<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style>'
    '<w:style w:type="paragraph" w:styleId="Heading2"><w:name w:val="heading 2"/></w:style></w:styles>'
)
CORE = (
    '<?xml version="1.0"?><p:coreProperties xmlns:p="http://schemas.openxmlformats.org/package/2006/metadata/'
    'core-properties" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Manual</dc:title></p:coreProperties>'
)


def paragraph(text: str, style: str = "", level: int | None = None) -> str:
    properties = f'<w:pStyle w:val="{style}"/>' if style else ""
    if level is not None:
        properties += f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="1"/></w:numPr>'
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def row(*cells: str) -> str:
    return "<w:tr>" + "".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in cells) + "</w:tr>"


def archive(parts: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return buffer.getvalue()


def docx(body: str, head: str = "", **more: str) -> bytes:
    document = f'<?xml version="1.0"?>{head}<w:document {_NAMESPACE}><w:body>{body}</w:body></w:document>'
    return archive(
        {
            "[Content_Types].xml": TYPES,
            "_rels/.rels": LINKS,
            "word/document.xml": document,
            "word/_rels/document.xml.rels": WORD_LINKS,
            "word/numbering.xml": NUMBERING,
            "word/styles.xml": STYLES,
            **more,
        }
    )


def read(data: bytes) -> Document:
    return parse_document(data, name="manual.docx")


def test_headings_lists_tables_and_code() -> None:
    body = (
        paragraph("Guide", "Heading1")
        + paragraph("Some words &amp; more.")
        + paragraph("Parts", "Heading2")
        + paragraph("one", level=0)
        + paragraph("deep", level=1)
        + paragraph("two", level=0)
        + f"<w:tbl>{row('Name', 'Port')}{row('web', '80')}</w:tbl>"
        + paragraph("$ run", "Code")
        + paragraph("$ stop", "Code")
    )
    found = read(docx(body))
    assert found.title == "Guide"
    assert [(section.heading_trail, section.text) for section in found.sections] == [
        (("Guide",), "Some words & more."),
        (("Guide", "Parts"), "- one\n  - deep\n- two\n\nName | Port\nweb | 80\n\n```\n$ run\n$ stop\n```"),
    ]


def test_the_title_of_the_properties_comes_first() -> None:
    assert read(docx(paragraph("Text."), **{"docProps/core.xml": CORE})).title == "The Manual"
    assert read(docx(paragraph("Text."))).title == "Manual"


def test_a_document_without_text_is_empty() -> None:
    with pytest.raises(EmptyDocument):
        read(docx(""))


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"PK\x03\x04" + bytes(60), "broken DOCX"),
        (b"plain text", "broken DOCX"),
        (docx("<w:p>"), "broken DOCX"),
        (docx(paragraph("text"))[:-40], "broken DOCX"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old versions of Word"),
        (archive({"a.txt": "text"}), "parts of a Word document are missing"),
        (archive({"[Content_Types].xml": TYPES, "_rels/.rels": LINKS}), "broken DOCX"),
        (archive({"[Content_Types].xml": "", "word/document.xml": b" " * 50_000_000}), "when unpacked"),
        (docx("<w:p/>" * 1_600_000), "tags, more than the limit"),
        (docx("<w:tbl><w:tr><w:tc>" * 2000 + "</w:tc></w:tr></w:tbl>" * 2000), "nested too deep"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, cause: str) -> None:
    with pytest.raises(DocumentError, match=rf"^manual\.docx: .*{cause}"):
        read(data)


def test_entities_neither_grow_nor_read_files() -> None:
    grown = '<!DOCTYPE d [<!ENTITY e0 "' + "x" * 50 + '">'
    grown += "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 30}">' for n in range(1, 9)) + "]>"
    with pytest.raises(DocumentError, match="broken DOCX"):
        read(docx(paragraph("&e8;"), grown))
    outside = '<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/hostname">]>'
    (section,) = read(docx(paragraph("&e;") + paragraph("kept"), outside)).sections
    assert section.text == "kept"
