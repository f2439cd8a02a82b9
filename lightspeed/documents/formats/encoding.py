"""Bytes to text: by byte order mark, as UTF-8, or in the encoding that the bytes look like."""

import codecs
import re

from lightspeed.documents.formats.format import FormatError

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 32 * 1024
_CONTROL = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f]")


def decode(data: bytes, declared: str | None = None) -> str:
    r"""The text of a file, its lines ended by `\n`.

    `declared` is an encoding that the file names itself; the byte order mark and valid UTF-8 come before it.
    Raises FormatError for binary content and for bytes that fit no encoding.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return _clean(data.decode(encoding))
            except UnicodeDecodeError as error:
                raise FormatError(f"not valid {encoding} in spite of its byte order mark") from error
    if b"\0" in data:
        raise FormatError("binary content")
    # The ISO 2022 encodings are seven-bit and would pass for UTF-8.
    first = [declared] if declared and declared.startswith("iso-2022") else []
    for encoding in [*first, "utf-8", *([declared] if declared else [])]:
        try:
            return _clean(data.decode(encoding))
        except (LookupError, ValueError):
            continue
    return _clean(_detected_text(data))


def encodable(text: str) -> str:
    """The text with a question mark for each half of a character, which no file and no tokenizer takes.

    JSON and the `unicode` directive of reStructuredText can write these.
    """
    return text.encode(errors="replace").decode()


def _detected_text(data: bytes) -> str:
    text = data.decode(errors="replace")
    first_bad = len(text[: text.index("\ufffd")].encode())
    damaged = text.count("\ufffd")
    # A few broken bytes do not make a UTF-8 file something else; Latin-1 has hardly a valid sequence.
    if sum(not char.isascii() for char in text) >= 4 * damaged:
        return text
    import chardet

    sample = data[max(0, first_bad - _SAMPLE) : first_bad + _SAMPLE]
    encoding = chardet.detect(sample)["encoding"]
    if encoding is None:
        raise FormatError("binary content")
    try:
        return data.decode(encoding)
    except (LookupError, UnicodeDecodeError) as error:
        raise FormatError(f"undecodable text (looks like {encoding}, but is not)") from error


def _clean(text: str) -> str:
    if len(_CONTROL.findall(text)) > len(text) // 100:
        raise FormatError("binary content")
    return text.replace("\r\n", "\n").replace("\r", "\n")
