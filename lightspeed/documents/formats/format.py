"""What a file format is: the file names it claims and how its bytes become sections."""

from collections.abc import Callable
from dataclasses import dataclass, field

from lightspeed.errors import LightspeedError


class FormatError(LightspeedError):
    """The bytes are not readable as their format. The message is one line without the path."""


@dataclass(frozen=True, slots=True)
class Section:
    """The text below one heading.

    `heading_trail` goes from the outermost heading to the section's own. `text` is plain text or Markdown:
    blank lines between paragraphs, code in fences. It is empty when a heading has nothing below it.
    """

    heading_trail: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Content:
    """What a format finds in a file; `title` and `url` are None when the file does not say."""

    sections: tuple[Section, ...]
    title: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """One format. A module in this package that has one as `FORMAT` is found by the registry.

    `suffixes` are lower case with the dot. `stems` are lower-case file names without a suffix.
    `read` takes the bytes of a whole file and raises FormatError.
    """

    suffixes: frozenset[str]
    read: Callable[[bytes], Content]
    stems: frozenset[str] = field(default=frozenset())
