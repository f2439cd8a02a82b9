"""Passages as a model reads them, and the room that they take in its context window."""

from collections.abc import Sequence
from dataclasses import replace

from lightspeed.retrieval.references import Chunk

_BYTES_PER_TOKEN = 3.2  # a cautious average: prose has more, code has fewer


def passages_text(chunks: Sequence[Chunk]) -> str:
    return "\n\n".join(map(_text, chunks))


def cautious_tokens(text: str) -> int:
    """By bytes, because scripts that need several for a letter have more tokens, too."""
    return int(len(text.encode(errors="replace")) / _BYTES_PER_TOKEN) + 1


def passage_tokens(chunk: Chunk) -> int:
    return cautious_tokens(_text(chunk))


def beginning(chunk: Chunk, tokens: int) -> Chunk | None:
    """As much of a passage as there is room for, up to the end of a word if it has words; None for nothing."""
    title = len(_text(chunk).encode(errors="replace")) - len(chunk.content.encode(errors="replace"))
    size = int((tokens - 1) * _BYTES_PER_TOKEN) - title
    if size <= 0:
        return None
    text = chunk.content.encode(errors="replace")[:size].decode(errors="ignore")
    ends = chunk.content[len(text) : len(text) + 1].isspace()
    content = (text if ends else text.rpartition(" ")[0]).rstrip() or text
    cut = replace(chunk, content=content)
    # A cut within a title that begins the content makes the title stand there once more.
    return cut if content and passage_tokens(cut) <= tokens else None


def _text(chunk: Chunk) -> str:
    """A passage under its title, which chunks of our own carry already."""
    title = str(chunk.attributes.get("title") or chunk.source or "")
    return chunk.content if chunk.content.startswith(title) else f"{title}\n{chunk.content}"
