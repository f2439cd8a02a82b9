"""Chunks of a fixed size: nothing lost, nothing too long, and the overlap really there."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from lightspeed.documents.chunking import TextChunk
from lightspeed.documents.document import Document, Section
from lightspeed.documents.windows import WindowChunker
from tests.documents.test_chunking import COUNTERS, document, random_document, words


def chunks(
    made: Document, size: int = 100, overlap: int = 20, count: Callable[[str], int] = words
) -> list[TextChunk]:
    return list(WindowChunker(max_tokens=size, overlap=overlap, count_tokens=count).chunks(made))


def body(chunk: TextChunk) -> list[str]:
    return chunk.text.split("\n", 1)[1].split()


def repeated(one: list[str], other: list[str]) -> int:
    """How many words at the end of one chunk begin the other."""
    return max(size for size in range(len(other) + 1) if not size or one[-size:] == other[:size])


@pytest.mark.parametrize("count", COUNTERS, ids=lambda count: count.__name__)
@pytest.mark.parametrize("seed", range(15))
def test_every_document_is_covered_within_the_size(seed: int, count: Callable[[str], int]) -> None:
    source = random.Random(seed)
    made = random_document(source)
    size = source.choice([48, 100, 400])
    found = chunks(made, size, source.choice([0, size // 10, size // 2]), count)
    assert [chunk.position for chunk in found] == list(range(len(found)))
    assert all(0 < chunk.token_count == count(chunk.text) <= size for chunk in found)
    kept = {word for chunk in found for word in chunk.text.split()}
    for section in made.sections:
        long_words = {word for word in section.text.split() if count(word) > size // 4}
        assert set(section.text.split()) - long_words <= kept


@pytest.mark.parametrize(("size", "overlap"), [(100, 50), (100, 20), (100, 1), (400, 200), (100, 3)])
def test_neighbours_share_as_much_as_was_asked_for(size: int, overlap: int) -> None:
    text = " ".join(f"w{number}" + "." * (number % 9 == 8) for number in range(3000))
    found = chunks(document((("Part",), text)), size, overlap)
    assert len(found) > 3000 // size
    for one, other in pairwise(found):
        assert (overlap + 1) // 2 <= repeated(body(one), body(other)) <= overlap


def test_without_overlap_the_text_is_given_once_and_in_order() -> None:
    text = " ".join(f"w{number}" for number in range(1000))
    found = chunks(document(((), text)), overlap=0)
    assert [word for chunk in found for word in body(chunk)] == text.split()
    assert all(chunk.token_count > 80 for chunk in found[:-1])


def test_chunks_go_on_across_sections_and_name_their_headings() -> None:
    made = document(
        *(
            ((f"Part {part}", "Detail"), " ".join(f"p{part}w{number}" for number in range(60)))
            for part in "ab"
        )
    )
    first, second = chunks(made, 100, 20)
    assert first.text.startswith("Doc > Part a > Detail\npaw0")
    assert "\n\nPart b > Detail\n\npbw0" in first.text
    assert first.heading_trail == ()
    assert second.text.startswith("Doc > Part b > Detail\n")
    assert second.heading_trail == ("Part b", "Detail")


def test_a_word_longer_than_the_overlap_is_still_repeated() -> None:
    def by_letters(text: str) -> int:
        return len(text.replace(" ", ""))

    made = document(((), " ".join(f"{number:012}" for number in range(50))), title="")
    found = chunks(made, 100, 5, by_letters)
    assert all(one.text.split()[-1] == other.text.split()[0] for one, other in pairwise(found))


def test_headings_without_text_are_kept() -> None:
    made = Document("id", "a.md", "Doc", None, "a.md", (Section(("A",), ""), Section(("B",), "")), "hash")
    assert [chunk.text for chunk in chunks(made)] == ["Doc > A\nB"]


@pytest.mark.parametrize(
    ("size", "overlap", "count"),
    [(15, 0, words), (100, 51, words), (100, -1, words), (100, 10, lambda text: min(90, words(text)))],
)
def test_settings_that_cannot_work_are_refused(size: int, overlap: int, count: Callable[[str], int]) -> None:
    with pytest.raises(ValueError, match=r"max_tokens|overlap"):
        WindowChunker(max_tokens=size, overlap=overlap, count_tokens=count)


@pytest.mark.parametrize(
    "line", ["A sentence here. ", "one line without end ", "- item\n", "." * 40, " \t", "你好。"]
)
def test_the_work_grows_with_the_length_only(line: str) -> None:
    given = 0

    def count(text: str) -> int:
        nonlocal given
        given += len(text)
        return words(text) + len(text) // 8

    chunker = WindowChunker(max_tokens=400, overlap=200, count_tokens=count)
    given = 0
    text = line * (100_000 // len(line)) + " end"
    assert list(chunker.chunks(document(((), text))))
    assert given < 40 * len(text)
