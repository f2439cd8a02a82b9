"""Chunks: what holds for every document, and how text of each kind is cut."""

import random
import re
from collections.abc import Callable

import pytest

from lightspeed.documents.chunking import Chunker, TextChunk, chunk_metadata, estimate_tokens
from lightspeed.documents.document import Document, Section, parse_document


def document(*sections: tuple[tuple[str, ...], str], title: str = "Doc") -> Document:
    made = tuple(Section(trail, text) for trail, text in sections)
    return Document("id", "a/doc.md", title, None, "/data/a/doc.md", made, "hash")


def words(text: str) -> int:
    return len(text.split())


def word_pieces(text: str) -> int:
    """Like a tokenizer that marks both ends of every text."""
    return 2 + sum((len(word) + 3) // 4 for word in re.findall(r"\w+|[^\w\s]", text))


def bytes_in_pairs(text: str) -> int:
    """Like a tokenizer whose counts do not add up: a space at the start or the end is free."""
    return (len(text.strip().encode()) + 1) // 2


COUNTERS: list[Callable[[str], int]] = [words, word_pieces, bytes_in_pairs, estimate_tokens]


def chunks(
    made: Document, budget: int = 40, overlap: int = 0, count: Callable[[str], int] = words
) -> list[TextChunk]:
    return list(Chunker(token_budget=budget, overlap=overlap, count_tokens=count).chunks(made))


def body(chunk: TextChunk) -> str:
    return chunk.text.split("\n", 1)[1]


def sentence(start: str, length: int) -> str:
    return " ".join([start, *(f"{start.lower()}{number}" for number in range(1, length))]) + "."


def random_words(source: random.Random, low: int, high: int) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyzäéßжщ你好123"
    return [
        "".join(source.choices(letters, k=source.randint(1, 9))) for _ in range(source.randint(low, high))
    ]


def random_block(source: random.Random) -> str:
    kind = source.choice(["prose", "prose", "list", "code", "table", "open fence", "line", "spaces", "marks"])
    lines = [" ".join(random_words(source, 1, 12)) for _ in range(source.randint(1, 25))]
    match kind:
        case "prose":
            return source.choice([". ", ".\n", "! ", " "]).join(line.capitalize() for line in lines)
        case "list":
            return "\n".join(f"{source.choice(['- ', '  * ', '3. '])}{line}" for line in lines)
        case "code":
            return "```\n" + source.choice(["\n", "\n\n", "\n   "]).join(lines) + "\n```"
        case "table":
            return "\n".join(["| a | b |", "|---|---|", *(f"| {line} | x |" for line in lines)])
        case "open fence":
            return "~~~ text\n" + "\n\n".join(lines)
        case "line":
            return " ".join(random_words(source, 200, 400))
        case "spaces":
            return (" " * source.randint(1, 3000)).join(lines[:3])
    return "." * source.randint(1, 300) + " " + "`" * source.randint(1, 9)


def random_document(source: random.Random) -> Document:
    trail: tuple[str, ...] = ()
    made = []
    for _ in range(source.randint(1, 8)):
        heading = " ".join(random_words(source, 1, source.choice([3, 3, 3, 60])))
        trail = (*trail[: source.randint(0, len(trail))], heading) if source.random() < 0.8 else trail
        text = "\n\n".join(random_block(source) for _ in range(source.randint(0, 5)))
        made.append((trail, text))
    return document(*made, title=" ".join(random_words(source, 1, source.choice([4, 50]))))


@pytest.mark.parametrize("count", COUNTERS, ids=lambda count: count.__name__)
@pytest.mark.parametrize("seed", range(60))
def test_every_document_is_covered_within_the_budget(seed: int, count: Callable[[str], int]) -> None:
    source = random.Random(seed)
    made = random_document(source)
    budget = source.choice([48, 64, 220])
    found = chunks(made, budget, source.choice([0, 8, 32]), count)
    assert [chunk.position for chunk in found] == list(range(len(found)))
    assert all(0 < chunk.token_count == count(chunk.text) <= budget for chunk in found)
    assert all(chunk.text.strip() for chunk in found)
    kept = {word for chunk in found for word in chunk.text.split()}
    for section in made.sections:
        long_words = {word for word in section.text.split() if count(word) > budget // 3}
        assert set(section.text.split()) - long_words <= kept
        assert set(" ".join(section.heading_trail).split()) <= kept


@pytest.mark.parametrize("seed", range(20))
def test_without_overlap_the_text_is_given_once_and_in_order(seed: int) -> None:
    source = random.Random(seed)
    text = "\n\n".join(sentence(f"P{number}", source.randint(1, 90)) for number in range(20))
    assert " ".join(body(chunk) for chunk in chunks(document(((), text)))).split() == text.split()


def test_a_small_document_is_one_chunk() -> None:
    (chunk,) = chunks(document((("Install",), "Run it.\n\nThen stop.")))
    assert chunk == TextChunk("Doc > Install\nRun it.\n\nThen stop.", ("Install",), 0, 7)


def test_the_heading_that_repeats_the_title_is_not_said_twice() -> None:
    (chunk,) = chunks(document((("Doc", "Use"), "Text.")))
    assert chunk.text == "Doc > Use\nText."
    (chunk,) = chunks(document((("Do",), "Text.")))
    assert chunk.text == "Doc > Do\nText."


def test_paragraphs_stay_whole_where_they_fit() -> None:
    first, second, third = sentence("One", 20), sentence("Two", 18), sentence("Three", 15)
    found = chunks(document(((), f"{first}\n\n{second}\n\n{third}")))
    assert [body(chunk) for chunk in found] == [f"{first}\n\n{second}", third]


def test_long_paragraphs_are_cut_between_sentences() -> None:
    parts = [sentence(start, 15) for start in ("One", "Two", "Three", "Four", "Five")]
    found = chunks(document(((), " ".join(parts))))
    assert [body(chunk) for chunk in found] == [" ".join(parts[:2]), " ".join(parts[2:4]), parts[4]]


def test_long_lists_and_logs_are_cut_between_lines() -> None:
    items = "\n".join(f"- item {number} of a long list" for number in range(40))
    log = "\n".join(f"10:00:{number} INFO started worker {number}" for number in range(40))
    for text in (items, log):
        lines = [line for chunk in chunks(document(((), text))) for line in body(chunk).split("\n")]
        assert lines == text.split("\n")


def test_overlap_is_whole_sentences_within_a_section() -> None:
    parts = [sentence(f"S{number}", 9) for number in range(12)]
    other = sentence("Other", 60)
    found = chunks(document((("A",), " ".join(parts)), (("B",), other)), overlap=10)
    assert [re.findall(r"S\d+", body(chunk)) for chunk in found[:3]] == [
        ["S0", "S1", "S2", "S3"],
        ["S3", "S4", "S5", "S6"],
        ["S6", "S7", "S8", "S9"],
    ]
    first_of_b = next(chunk for chunk in found if chunk.heading_trail == ("B",))
    assert body(first_of_b).startswith("Other other1")


def test_no_overlap_when_the_last_sentence_is_too_long_for_it() -> None:
    parts = [sentence(start, 30) for start in ("One", "Two")]
    found = chunks(document(((), " ".join(parts))), overlap=10)
    assert [body(chunk) for chunk in found] == parts


def test_code_stays_whole_where_it_fits() -> None:
    code = "```sh\nfirst command here\n\nsecond command. Third command\n```"
    found = chunks(document(((), f"{sentence('Intro', 38)}\n\n{code}\n\n{sentence('End', 35)}")))
    assert code in [body(chunk) for chunk in found]


def test_code_over_the_budget_is_cut_between_lines_and_fenced_again() -> None:
    lines = [f"call {number} with one argument" for number in range(30)]
    found = chunks(document(((), "```py\n" + "\n".join(lines) + "\n```")))
    assert len(found) > 3
    parts = [body(chunk).split("\n") for chunk in found]
    assert all((part[0], part[-1]) == ("```py", "```") for part in parts)
    assert [line for part in parts for line in part[1:-1]] == lines


def test_each_part_of_a_long_table_has_its_head() -> None:
    rows = [f"| key{number} | the value of {number} |" for number in range(30)]
    found = chunks(document(((), "| Key | Value |\n|-----|-------|\n" + "\n".join(rows))))
    assert len(found) > 3
    assert all(body(chunk).startswith("| Key | Value |\n|-----|-------|\n| key") for chunk in found)
    assert [row for chunk in found for row in body(chunk).split("\n")[2:]] == rows


def test_a_fence_that_is_never_closed_is_prose() -> None:
    text = "```\n" + "\n\n".join(sentence(f"P{number}", 20) for number in range(10))
    assert [body(chunk).count("```") for chunk in chunks(document(((), text)))] == [
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ]


def test_small_neighbours_under_one_heading_are_merged() -> None:
    found = chunks(
        document(
            (("Guide",), "Intro."),
            (("Guide", "One"), "First."),
            (("Guide", "Two"), "Second."),
            (("Guide", "Two", "Deep"), "Third."),
            (("Other", "Three"), "Fourth."),
        )
    )
    assert [(chunk.heading_trail, chunk.text) for chunk in found] == [
        (("Guide",), "Doc > Guide\nIntro.\n\nOne\nFirst.\n\nTwo\nSecond."),
        (("Guide", "Two", "Deep"), "Doc > Guide > Two > Deep\nThird."),
        (("Other", "Three"), "Doc > Other > Three\nFourth."),
    ]


def test_merging_stops_at_the_budget() -> None:
    made = document(*((("Guide", f"H{number}"), sentence(f"T{number}", 10)) for number in range(9)))
    assert [chunk.text.count("\nT") for chunk in chunks(made)] == [3, 3, 3]


def test_headings_without_text_are_kept() -> None:
    assert [chunk.text for chunk in chunks(document((("Only",), "")))] == ["Doc > Only"]
    assert chunks(document(((), " "))) == []


def test_a_heading_too_long_to_stand_above_every_chunk_is_given_once_in_full() -> None:
    heading = " ".join(f"h{number}" for number in range(30))
    found = chunks(document(((heading,), sentence("Text", 200))), budget=60)
    assert body(found[0]).startswith(f"Doc > {heading}")
    assert all(chunk.text.startswith("Doc > h0 h1") and "h20" not in chunk.text for chunk in found[1:])


def test_one_endless_word_is_cut_hard_and_nothing_is_lost() -> None:
    word = "".join(random.Random(5).choices("abcdefgh0123456789", k=20_000))
    found = chunks(document(((), f"before {word} after")), budget=64, count=estimate_tokens)
    assert all(chunk.token_count <= 64 for chunk in found)
    assert "".join(re.sub(r"\s", "", body(chunk)) for chunk in found) == f"before{word}after"


def test_words_that_a_tokenizer_does_not_count_do_not_make_endless_chunks() -> None:
    found = chunks(document(((), "x" * 100_000 + " " * 100_000 + "y")), budget=40)
    assert all(len(chunk.text) < 40 * 20 for chunk in found)


@pytest.mark.parametrize(
    "options",
    [
        {"token_budget": 15},
        {"overlap": 220},
        {"overlap": -1},
        {"count_tokens": lambda text: min(128, words(text))},
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=r"token_budget|overlap|count"):
        Chunker(**options)


def test_metadata_is_flat() -> None:
    made = parse_document(
        b"---\nurl: https://example.com/x\ntitle: T\n---\n# A\n\n## B\n\ntext",
        name="d/x.md",
        path="/p/d/x.md",
    )
    (chunk,) = chunks(made)
    assert chunk_metadata(made, chunk) == {
        "document_id": made.id,
        "title": "T",
        "docs_url": "https://example.com/x",
        "source_path": "d/x.md",
        "heading": "A > B",
        "chunk_index": 0,
        "content_hash": made.content_hash,
    }
    plain = parse_document(b"text", name="d/x.txt", path="/p/d/x.txt")
    metadata = chunk_metadata(plain, chunks(plain)[0])
    assert metadata["docs_url"] == "d/x.txt"
    assert not any("/p/" in str(value) for value in metadata.values())


@pytest.mark.parametrize(
    "line",
    [
        "A sentence about the product. Another one!\n",
        "one line without any end ",
        "log line number 5 INFO started\n",
        "- item\n",
        "paragraph\n\n",
        "```\ncode\n```\n",
        "```\ncode\n\n",
        "| a | b |\n",
        "-" * 40,
        "." * 40,
        " \t",
        "你好世界。",
        "`" * 40,
        '".)"',
    ],
)
def test_the_work_grows_with_the_length_only(line: str) -> None:
    """What the counter is given is a few times the text, whatever the text is made of."""
    given = 0

    def count(text: str) -> int:
        nonlocal given
        given += len(text)
        return estimate_tokens(text)

    text = line * (200_000 // len(line)) + " end"
    chunker = Chunker(count_tokens=count)
    given = 0
    assert list(chunker.chunks(document(((), text))))
    assert given < 12 * len(text)
