"""PDF: a section for each page that has text."""

import re
import threading
from typing import TYPE_CHECKING

from lightspeed.documents.formats.format import Content, Format, FormatError, Section

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

# PDFium is not thread-safe: one call at a time in the whole process.
_PDFIUM = threading.Lock()
# PDFium gives a control character for a hyphen at the end of a line, mostly without the line end.
_LINE_HYPHEN = re.compile(r"(?<=\w)(?:[\x02\ufffe\u00ad]\n?|-\n)(?=(\w?))")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_NO_TITLE = re.compile(
    r"untitled\W*\d*|(?:microsoft word - )?.*\.(?:docx?|dvi|tex|indd|pptx?)", re.IGNORECASE
)


def read(data: bytes) -> Content:
    with _PDFIUM:
        import pypdfium2

        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            locked = "password" in str(error).lower() or "security" in str(error).lower()
            raise FormatError("encrypted PDF" if locked else "broken PDF") from error
        try:
            title = " ".join(document.get_metadata_value("Title").split())
            pages = [_page_text(document, number) for number in range(len(document))]
        except pypdfium2.PdfiumError as error:
            raise FormatError("broken PDF") from error
        finally:
            document.close()
    sections = tuple(Section((f"page {number}",), text) for number, text in enumerate(pages, 1) if text)
    if not sections:
        raise FormatError("no text in the PDF (scanned pages?)")
    return Content(sections, title=title if title and not _NO_TITLE.fullmatch(title) else None)


def _page_text(document: "PdfDocument", number: int) -> str:
    page = document[number]
    text_page = page.get_textpage()
    try:
        text: str = text_page.get_text_bounded()
    finally:
        text_page.close()
        page.close()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _LINE_HYPHEN.sub(lambda found: "" if found[1].islower() else "-", text)
    return _CONTROL.sub("", text).strip()


FORMAT = Format(suffixes=frozenset({".pdf"}), read=read)
