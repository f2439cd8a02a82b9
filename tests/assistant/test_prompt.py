"""What the model reads fits its window."""

from lightspeed.assistant.prompt import Exchange, compose
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


def test_the_best_passages_and_the_newest_exchanges_stay() -> None:
    chunks = [Chunk(f"{number} " + "word " * 100, "docs", 1 / (number + 1)) for number in range(10)]
    history = [Exchange(f"question {number}", (), "answer " * 50) for number in range(10)]
    composed = prompt(1500, chunks=chunks, history=history)
    kept = [chunk.content.split()[0] for chunk in composed.chunks]  # type: ignore[attr-defined]
    assert kept == [str(number) for number in range(len(kept))]
    assert 0 < len(kept) < 10
    assert composed.truncated is True  # type: ignore[attr-defined]
    assert "question 9" in contents(composed)
    assert "question 0" not in contents(composed)


def test_everything_is_kept_when_the_window_is_not_known() -> None:
    history = [Exchange(f"question {number}", (), "answer " * 500) for number in range(50)]
    composed = prompt(None, history=history)
    assert len(contents(composed)) == 102
    assert composed.truncated is False  # type: ignore[attr-defined]
