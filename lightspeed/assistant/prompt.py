"""What the model reads: instructions, the conversation so far, passages, the question with its attachments.

Everything must fit the model's context window. Lengths are estimated; a provider that finds its window too small says
so itself, and the client gets a 413.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightspeed.assistant.request import Attachment
from lightspeed.retrieval.reading import cautious_tokens, passage_tokens, passages_text
from lightspeed.retrieval.references import Chunk

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
    """`chunks` are the passages in it; `truncated` says that older exchanges found no room.

    `room` is what is left of the context window for results of the knowledge tool, in tokens; None if the window is
    not known. What other tools answer is not taken off it.
    """

    messages: list[dict[str, Any]]
    chunks: tuple[Chunk, ...]
    truncated: bool
    room: int | None = None


@dataclass(frozen=True, slots=True)
class PassageRoom:
    """The tokens that passages may have: those `given` with the question, and what a tool may have `found` at least."""

    given: int | None
    found: int = 0


def passage_room(
    *,
    system_prompt: str,
    query: str,
    attachments: Sequence[Attachment],
    context_window: int | None,
    searchable: bool,
) -> PassageRoom:
    """What the context window has for passages. `searchable` says that the model may look for some itself."""
    room = _room(context_window, system_prompt, question(query, attachments))
    if room is None:
        return PassageRoom(None)
    passages = int(room * _SHARE_OF_PASSAGES)
    found = passages // 2 if searchable else 0
    return PassageRoom(passages - found, found)


def compose(
    *,
    system_prompt: str,
    history: Sequence[Exchange],
    chunks: Sequence[Chunk],
    query: str,
    attachments: Sequence[Attachment],
    context_window: int | None,
    kept_free: int = 0,
    definitions: Sequence[Mapping[str, Any]] = (),
) -> Prompt:
    """Messages for a chat model. Of the history the newest stay.

    `chunks` are within the `passage_room`; `kept_free` are the tokens of it that nothing but the `definitions` of
    tools may take now.
    """
    asked = question(query, attachments)
    room = _room(context_window, system_prompt, asked)
    if room is not None:
        room -= sum(map(passage_tokens, chunks)) + sum(map(_json_tokens, definitions))
    kept_history, left = _fitting_history(history, None if room is None else room - kept_free)
    messages: list[dict[str, Any]] = [{"role": "system", "content": system_prompt}]
    for exchange in kept_history:
        messages.append({"role": "user", "content": question(exchange.query, exchange.attachments)})
        messages.append({"role": "assistant", "content": exchange.answer})
    messages.append({"role": "user", "content": _with_passages(chunks, asked)})
    return Prompt(
        messages,
        tuple(chunks),
        truncated=len(kept_history) < len(history),
        room=None if left is None else max(0, left + kept_free),
    )


def room_after(
    messages: Sequence[Mapping[str, Any]],
    definitions: Sequence[Mapping[str, Any]],
    context_window: int | None,
) -> int | None:
    """What messages and tools leave of the context window, in tokens; None if the window is not known."""
    if context_window is None:
        return None
    taken = sum(_json_tokens(message) + _MESSAGE_OVERHEAD for message in messages)
    taken += sum(map(_json_tokens, definitions))
    return max(0, context_window - _answer_reserve(context_window) - taken)


def _with_passages(chunks: Sequence[Chunk], asked: str) -> str:
    return f"{passages_text(chunks)}\n\nQuestion: {asked}" if chunks else asked


def question(query: str, attachments: Sequence[Attachment]) -> str:
    """A question with its attachments as the model reads them."""
    parts = [query, *(f"[Attachment: {item.attachment_type}]\n{item.content}" for item in attachments)]
    return "\n\n".join(parts)


def _room(context_window: int | None, system_prompt: str, asked: str) -> int | None:
    if context_window is None:
        return None
    taken = _tokens(system_prompt) + _tokens(asked)
    return max(0, context_window - _answer_reserve(context_window) - taken)


def _answer_reserve(context_window: int) -> int:
    return min(_LARGEST_ANSWER_RESERVE, context_window // 4)


def _fitting_history(history: Sequence[Exchange], room: int | None) -> tuple[list[Exchange], int | None]:
    """The newest that fit, and the room that they leave."""
    if room is None:
        return list(history), None
    kept: list[Exchange] = []
    for exchange in reversed(history):
        cost = _tokens(question(exchange.query, exchange.attachments)) + _tokens(exchange.answer)
        if cost > room:
            break
        room -= cost
        kept.append(exchange)
    return kept[::-1], room


def _json_tokens(value: Mapping[str, Any]) -> int:
    return cautious_tokens(json.dumps(value, ensure_ascii=False))


def _tokens(text: str) -> int:
    return cautious_tokens(text) + _MESSAGE_OVERHEAD
