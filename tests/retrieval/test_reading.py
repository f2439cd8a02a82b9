"""Passages as a model reads them, and their room."""

import pytest

from lightspeed.retrieval.reading import beginning, cautious_tokens, passage_tokens, passages_text
from lightspeed.retrieval.references import Chunk


def test_a_title_stands_once_above_its_passage() -> None:
    chunks = [
        Chunk("Restart it.", "docs", 0.9, {"title": "Nodes"}),
        Chunk("Nodes > Restart\nDo it.", "docs", 0.8, {"title": "Nodes"}),
        Chunk("Or not.", "docs", 0.7),
    ]
    assert passages_text(chunks) == "Nodes\nRestart it.\n\nNodes > Restart\nDo it.\n\ndocs\nOr not."


def test_a_title_takes_room() -> None:
    assert passage_tokens(Chunk("word", "s", None, {"title": "x" * 320})) > 100


def test_scripts_that_need_more_tokens_are_estimated_to() -> None:
    assert cautious_tokens("節点を再起動する") >= 7
    assert cautious_tokens("restarts") <= 3


@pytest.mark.parametrize("text", ["kettle " * 900, "節点を再起動する" * 300, "x" * 5000])
@pytest.mark.parametrize("title", ["Kettles", "節" * 30])
def test_a_beginning_fits_with_its_title(text: str, title: str) -> None:
    chunk = Chunk(text, "docs", 0.9, {"title": title})
    cut = beginning(chunk, 100)
    assert cut is not None
    assert chunk.content.startswith(cut.content)
    assert 90 <= passage_tokens(cut) <= 100
    assert (cut.score, cut.attributes) == (chunk.score, chunk.attributes)
    assert beginning(chunk, 2) is None


def test_a_beginning_ends_with_a_word() -> None:
    cut = beginning(Chunk("kettle " * 900, None, 0.9), 100)
    assert cut is not None
    assert set(cut.content.split()) == {"kettle"}


@pytest.mark.parametrize("tokens", range(1, 41))
def test_a_beginning_fits_also_where_the_cut_falls_into_the_title(tokens: int) -> None:
    title = "How to descale the kettle of the second floor"
    cut = beginning(Chunk(f"{title}\n{'kettle ' * 90}", "docs", 0.9, {"title": title}), tokens)
    assert cut is None or passage_tokens(cut) <= tokens
    assert cut is not None or tokens < 20
