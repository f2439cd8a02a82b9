"""Text from other servers, made harmless."""

import re

# All but tab and line feed; those of half a character (surrogates) cannot be written as UTF-8.
_HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_LINE_END = re.compile(r"\r\n?|[\x85\u2028\u2029]")
_SPACE = re.compile(r"\s+")


def harmless(text: str) -> str:
    """With U+FFFD for control characters, and one kind of line end."""
    return _HARMFUL.sub("\ufffd", _LINE_END.sub("\n", text))


def one_line(text: str, *, most: int = 300) -> str:
    """For messages and headers: in one line of printable ASCII, cut where it is too long."""
    plain = _SPACE.sub(" ", harmless(text[: 4 * most])).encode("ascii", "replace").decode().strip()
    return plain if len(plain) <= most else plain[: most - 3] + "..."
