"""Plain text: one section."""

from lightspeed.documents.formats.encoding import decode
from lightspeed.documents.formats.format import Content, Format
from lightspeed.documents.formats.outline import Outline


def read(data: bytes) -> Content:
    outline = Outline()
    outline.text(decode(data).replace("\f", "\n\n"))
    return Content(outline.sections())


FORMAT = Format(
    suffixes=frozenset({".txt", ".text", ".log"}),
    read=read,
    stems=frozenset(
        {
            *("readme", "about", "authors", "bugs", "changelog", "changes", "contributing", "contributors"),
            *(
                "copying",
                "copyright",
                "credits",
                "faq",
                "hacking",
                "history",
                "install",
                "licence",
                "license",
            ),
            *("maintainers", "news", "notes", "notice", "security", "thanks", "todo", "upgrading"),
        }
    ),
)
