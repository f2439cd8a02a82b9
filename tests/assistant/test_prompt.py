"""What the model reads fits its window."""

from collections.abc import Sequence

import pytest

from lightspeed.assistant.prompt import Exchange, PassageRoom, compose, passage_room
from lightspeed.assistant.request import Attachment
from lightspeed.retrieval.references import Chunk


def prompt(window: int | None = None, **parts: object) -> object:
    given: dict[str, object] = {
        "system_prompt": "Help.",
        "history": [],
        "chunks": [],
        "query": "Why?",
        "attachments": [],
    }
    return compose(**(given | parts), context_window=window)  # type: ignore[arg-type]


def contents(composed: object) -> list[str]:
    return [message["content"] for message in composed.messages]  # type: ignore[attr-defined]


def test_without_anything_else_the_question_stands_alone() -> None:
    assert contents(prompt()) == ["Help.", "Why?"]


def test_attachments_follow_the_question_in_their_order() -> None:
    attachments = [Attachment("log", "text/plain", "a"), Attachment("event", "text/plain", "b")]
    assert (
        contents(prompt(attachments=attachments))[-1]
        == "Why?\n\n[Attachment: log]\na\n\n[Attachment: event]\nb"
    )


def test_passages_carry_their_title_and_come_before_the_question() -> None:
    chunks = [Chunk("Restart it.", "docs", 0.9, {"title": "Nodes"}), Chunk("Or not.", "docs", 0.8)]
    text = contents(prompt(chunks=chunks))[-1]
    assert text.index("Nodes\nRestart it.") < text.index("docs\nOr not.") < text.index("Why?")


def test_the_newest_exchanges_stay() -> None:
    history = [Exchange(f"question {number}", (), "answer " * 50) for number in range(10)]
    composed = prompt(1500, history=history)
    assert composed.truncated is True  # type: ignore[attr-defined]
    assert "question 9" in contents(composed)
    assert "question 0" not in contents(composed)


def test_history_takes_no_room_of_passages_and_leaves_some_to_the_search_of_the_model() -> None:
    chunks = [Chunk("word " * 300, "docs", 0.9)]
    history = [Exchange(f"question {number}", (), "answer " * 50) for number in range(20)]
    alone = prompt(2000, history=history)
    with_passages = prompt(2000, history=history, chunks=chunks, kept_free=400)
    assert len(contents(with_passages)) < len(contents(alone))
    assert alone.room < 400 <= with_passages.room  # type: ignore[attr-defined]
    assert prompt().room is None  # type: ignore[attr-defined]


def test_definitions_of_tools_take_room_of_history_and_of_the_search() -> None:
    definition = {"type": "function", "function": {"name": "look", "description": "Look. " * 100}}
    alone, with_tools = prompt(2000), prompt(2000, definitions=[definition])
    assert with_tools.room < alone.room - 150  # type: ignore[attr-defined]
    history = [Exchange(f"question {number}", (), "answer " * 50) for number in range(20)]
    kept = contents(prompt(2000, history=history, definitions=[definition]))
    assert len(kept) < len(contents(prompt(2000, history=history)))
    assert prompt(definitions=[definition]).room is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("searchable", [False, True])
def test_passages_and_answer_have_room_together(searchable: bool) -> None:
    def room(window: int | None, attachments: Sequence[Attachment] = ()) -> PassageRoom:
        return passage_room(
            system_prompt="Help.",
            query="Why?",
            attachments=attachments,
            context_window=window,
            searchable=searchable,
        )

    assert room(None) == PassageRoom(None)
    small, large = room(2048), room(100_000)
    assert small.given is not None
    assert large.given is not None
    assert 0 < small.given + small.found < 2048 - 512
    assert small.given < large.given
    assert (small.found > 0) is searchable
    assert room(2048, [Attachment("log", "text/plain", "x" * 9000)]) == PassageRoom(0, 0)


def test_everything_is_kept_when_the_window_is_not_known() -> None:
    history = [Exchange(f"question {number}", (), "answer " * 500) for number in range(50)]
    composed = prompt(None, history=history)
    assert len(contents(composed)) == 102
    assert composed.truncated is False  # type: ignore[attr-defined]
