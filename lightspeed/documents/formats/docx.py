"""Word documents (DOCX): mammoth makes HTML of the text, which is read as any page."""

import io
import zipfile
from typing import Any
from xml.etree import ElementTree

from lightspeed.documents.formats.format import Content, Format, FormatError
from lightspeed.documents.formats.html import write_html
from lightspeed.documents.formats.outline import Outline

# A book of 1000 pages has 15 MiB. What costs are the tags: a million take 30 s and 400 MB.
_MOST_XML = 24 * 1024 * 1024
_MOST_TAGS = 1_500_000
_MOST_PARTS = 10_000
_OLD_WORD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
p[style-name='HTML Preformatted'] => pre:separator('\\n')
p[style-name='Code'] => pre:separator('\\n')
p[style-name='Source Code'] => pre:separator('\\n')
"""


def read(data: bytes) -> Content:
    if data.startswith(_OLD_WORD):
        raise FormatError("encrypted, or in the format of old versions of Word (save it as DOCX)")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check(archive)
            title = _title(archive)
        html = _html(data)
    except FormatError:
        raise
    except RecursionError:
        raise FormatError("DOCX nested too deep") from None
    except MemoryError:
        raise
    except Exception as error:
        # mammoth gives what its parsers raise: KeyError, ExpatError, BadZipFile, UnicodeDecodeError and more.
        raise FormatError("broken DOCX") from error
    outline = Outline()
    write_html(html, outline)
    return Content(outline.sections(), title=title or outline.first_heading)


def _check(archive: zipfile.ZipFile) -> None:
    """Refuses what would grow beyond measure. `zipfile` never unpacks more than the sizes that it is told."""
    parts = archive.infolist()
    if not any(part.filename == "[Content_Types].xml" for part in parts):
        raise FormatError("no DOCX: the parts of a Word document are missing")
    if any(part.flag_bits & 1 for part in parts):
        raise FormatError("encrypted DOCX")
    text = sum(part.file_size for part in parts if not part.filename.startswith("word/media/"))
    if text > _MOST_XML or len(parts) > _MOST_PARTS:
        raise FormatError(f"{text} bytes when unpacked, more than the limit of {_MOST_XML}")
    tags = sum(archive.read(part).count(b"<") for part in parts if part.filename.endswith((".xml", ".rels")))
    if tags > _MOST_TAGS:
        raise FormatError(f"{tags} tags, more than the limit of {_MOST_TAGS}")


def _title(archive: zipfile.ZipFile) -> str:
    try:
        properties = archive.read("docProps/core.xml")
    except KeyError:
        return ""
    # Entities are refused by expat itself once they grow; nothing is loaded from outside.
    found = ElementTree.fromstring(properties).find(_TITLE)  # noqa: S314
    return " ".join((found.text or "").split()) if found is not None else ""


def _html(data: bytes) -> str:
    import mammoth  # type: ignore[import-untyped]

    html: str = mammoth.convert_to_html(
        io.BytesIO(data),
        style_map=_STYLES,
        include_embedded_style_map=False,
        external_file_access=False,
        convert_image=_no_image,
    ).value
    return html


def _no_image(image: Any) -> list[Any]:
    """The text that stands for an image; the image itself is not unpacked."""
    from mammoth.html import text  # type: ignore[import-untyped]

    return [text(image.alt_text)] if image.alt_text else []


FORMAT = Format(suffixes=frozenset({".docx"}), read=read)
