"""What the model reads: instructions, the conversation so far, passages, the question with its attachments.

Everything must fit the model's context window. Lengths are estimated; a provider that finds its window too small says
so itself, and the client gets a 413.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightspeed.assistant.request import Attachment
from lightspeed.retrieval.references import Chunk

_CHARACTERS_PER_TOKEN = 3.2  # a cautious average: prose has more, code and other scripts have fewer
_MESSAGE_OVERHEAD = 8  # tokens that a chat template adds to each message
_LARGEST_ANSWER_RESERVE = 2048
_SHARE_OF_PASSAGES = 0.6  # of what system prompt and question leave


@dataclass(frozen=True, slots=True)
class Exchange:
    """An earlier question with its answer."""

    query: str
    attachments: tuple[Attachment, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """`chunks` are the passages that found room; `truncated` says that older exchanges did not."""

    messages: list[dict[str, Any]]
    chunks: tuple[Chunk, ...]
    truncated: bool


def compose(
    *,
    system_prompt: str,
    history: Sequence[Exchange],
    chunks: Sequence[Chunk],
    query: str,
    attachments: Sequence[Attachment],
    context_window: int | None,
) -> Prompt:
    """Messages for a chat model. Of passages the best stay, of the history the newest."""
    asked = question(query, attachments)
    room = _room(context_window, system_prompt, asked)
    kept_chunks = _fitting_chunks(chunks, None if room is None else int(room * _SHARE_OF_PASSAGES))
    if room is not None:
        room -= sum(_tokens(_passage(chunk)) for chunk in kept_chunks)
    kept_history = _fitting_history(history, room)
    messages: list[dict[str, Any]] = [{"role": "system", "content": system_prompt}]
    for exchange in kept_history:
        messages.append({"role": "user", "content": question(exchange.query, exchange.attachments)})
        messages.append({"role": "assistant", "content": exchange.answer})
    messages.append({"role": "user", "content": _with_passages(kept_chunks, asked)})
    return Prompt(messages, tuple(kept_chunks), truncated=len(kept_history) < len(history))


def passages(chunks: Sequence[Chunk]) -> str:
    """Passages as the model reads them."""
    return "\n\n".join(map(_passage, chunks))


def _with_passages(chunks: Sequence[Chunk], asked: str) -> str:
    return f"{passages(chunks)}\n\nQuestion: {asked}" if chunks else asked


def _passage(chunk: Chunk) -> str:
    """A passage under its title, which chunks of our own carry already."""
    title = str(chunk.attributes.get("title") or chunk.source or "")
    return chunk.content if chunk.content.startswith(title) else f"{title}\n{chunk.content}"


def question(query: str, attachments: Sequence[Attachment]) -> str:
    """A question with its attachments as the model reads them."""
    parts = [query, *(f"[Attachment: {item.attachment_type}]\n{item.content}" for item in attachments)]
    return "\n\n".join(parts)


def _room(context_window: int | None, system_prompt: str, asked: str) -> int | None:
    if context_window is None:
        return None
    answer = min(_LARGEST_ANSWER_RESERVE, context_window // 4)
    return max(0, context_window - answer - _tokens(system_prompt) - _tokens(asked))


def _fitting_chunks(chunks: Sequence[Chunk], room: int | None) -> list[Chunk]:
    if room is None:
        return list(chunks)
    kept: list[Chunk] = []
    for chunk in chunks:
        cost = _tokens(_passage(chunk))
        if cost <= room:
            kept.append(chunk)
            room -= cost
    return kept


def _fitting_history(history: Sequence[Exchange], room: int | None) -> list[Exchange]:
    if room is None:
        return list(history)
    kept: list[Exchange] = []
    for exchange in reversed(history):
        room -= _tokens(question(exchange.query, exchange.attachments)) + _tokens(exchange.answer)
        if room < 0:
            break
        kept.append(exchange)
    return kept[::-1]


def _tokens(text: str) -> int:
    return int(len(text) / _CHARACTERS_PER_TOKEN) + _MESSAGE_OVERHEAD
