"""Filling a store: what is stored, replaced, kept and removed, and what a second run does."""

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from lightspeed.documents.chunking import Chunker
from lightspeed.documents.document import Document, document_id, parse_document
from lightspeed.documents.finding import find_files, searched_roots
from lightspeed.documents.parsing import DocumentParser
from lightspeed.errors import StorageError
from lightspeed.retrieval.ingest import Ingester, IngestReport, Source, chunker_for
from lightspeed.stack.passages import EmbeddingModel, NewPassage

pytestmark = pytest.mark.anyio

MODEL = EmbeddingModel("words", 4)


class Shelf:
    """One store in memory. `fails_after` calls of insert the next one fails and stores nothing."""

    def __init__(self) -> None:
        self.passages: dict[str, NewPassage] = {}
        self.inserts: list[int] = []
        self.fails_after: int | None = None

    async def create(self, store: str, model: EmbeddingModel) -> None:
        assert (store, model) == ("docs", MODEL)

    async def insert(
        self,
        store: str,
        passages: Sequence[NewPassage],
        replacing: Collection[str] = (),
        embedded: Callable[[int], None] = lambda count: None,
    ) -> None:
        for count in (1, len(passages) - 1):
            embedded(count)
            await checkpoint()
        if len(self.inserts) == self.fails_after:
            raise StorageError("disk full")
        self.inserts.append(len(passages))
        await self.delete_documents(store, replacing)
        for passage in passages:
            assert passage.id not in self.passages
            self.passages[passage.id] = passage

    async def documents(self, store: str) -> dict[str, str]:
        return {
            str(passage.metadata["document_id"]): str(passage.metadata["content_hash"])
            for passage in self.passages.values()
        }

    async def documents_under(self, store: str, key: str, value: str) -> set[str]:
        return {
            str(passage.metadata["document_id"])
            for passage in self.passages.values()
            if passage.metadata.get(key) == value
        }

    async def delete_documents(self, store: str, documents: Collection[str]) -> int:
        gone = [id_ for id_, passage in self.passages.items() if passage.metadata["document_id"] in documents]
        for id_ in gone:
            del self.passages[id_]
        return len(gone)

    def texts(self) -> dict[str, str]:
        """What is stored of each document, by the path of its file."""
        found: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for passage in self.passages.values():
            place = int(passage.metadata["chunk_index"])
            found[str(passage.metadata["source_path"])].append((place, passage.content.split("\n", 1)[1]))
        assert all(sorted(place for place, _ in parts) == list(range(len(parts))) for parts in found.values())
        return {name: " ".join(text for _, text in sorted(parts)) for name, parts in sorted(found.items())}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.md").write_text(text)
    return folder


async def found(*paths: Path | str) -> list[Source]:
    return await to_thread.run_sync(lambda: list(find_files(paths)))


async def ingest(
    shelf: Shelf, *paths: Path | str, sync: bool = False, parser: DocumentParser | None = None
) -> IngestReport:
    report = IngestReport()
    sources: list[Source] = await found(*paths)
    roots = await to_thread.run_sync(searched_roots, paths) if sync else {}
    ingester = Ingester(shelf, MODEL, Chunker(token_budget=40, overlap=0), parser=parser)
    await ingester.ingest(sources, "docs", report, synced_roots=roots)
    assert report.sources == len(sources)
    return report


def counts(report: IngestReport) -> tuple[int, int, int, int]:
    return report.added, report.replaced, report.unchanged, report.removed


async def test_files_are_stored_then_skipped_then_replaced(shelf: Shelf, tmp_path: Path) -> None:
    write(tmp_path, a="first", b="second")
    assert counts(await ingest(shelf, tmp_path)) == (2, 0, 0, 0)
    assert counts(await ingest(shelf, tmp_path)) == (0, 0, 2, 0)
    write(tmp_path, b="third")
    assert counts(await ingest(shelf, tmp_path)) == (0, 1, 1, 0)
    assert shelf.texts() == {"a.md": "first", "b.md": "third"}


class NotingParser(DocumentParser):
    def __init__(self) -> None:
        super().__init__()
        self.parsed: list[str] = []

    async def parse(self, data: bytes, *, name: str, **rest: Any) -> Document:
        self.parsed.append(name)
        return await super().parse(data, name=name, **rest)


async def test_an_unchanged_file_is_not_parsed_again(shelf: Shelf, tmp_path: Path) -> None:
    await ingest(shelf, write(tmp_path, a="first", b="second"))
    write(tmp_path, b="third")
    parser = NotingParser()
    assert counts(await ingest(shelf, tmp_path, parser=parser)) == (0, 1, 1, 0)
    assert parser.parsed == ["b.md"]


async def test_what_another_ingest_stores_meanwhile_is_replaced(shelf: Shelf, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", a="first"), write(tmp_path / "two", a="other\n\n# Longer\n\ntext")
    insert = shelf.insert

    async def late(store: str, passages: Sequence[NewPassage], *rest: Any) -> None:
        if not shelf.inserts:
            shelf.insert = insert  # type: ignore[method-assign]
            await ingest(shelf, two)
        await insert(store, passages, *rest)

    shelf.insert = late  # type: ignore[method-assign]
    await ingest(shelf, one)
    assert shelf.texts() == {"a.md": "first"}


async def test_equal_files_of_different_names_share_no_passage(shelf: Shelf, tmp_path: Path) -> None:
    text = "\n\n".join(f"Sentence number {number} of a text." for number in range(40))
    report = await ingest(shelf, write(tmp_path, a=text, b=text))
    assert report.added == 2
    assert report.passages == len(shelf.passages) > 4
    (tmp_path / "a.md").unlink()
    await ingest(shelf, tmp_path, sync=True)
    assert list(shelf.texts()) == ["b.md"]
    assert shelf.texts()["b.md"].split() == text.split()


async def test_passages_are_stored_in_batches_of_whole_documents(shelf: Shelf, tmp_path: Path) -> None:
    text = "\n\n".join(f"# Part {number}\n\n" + "word " * 30 for number in range(70))
    report = await ingest(shelf, write(tmp_path, **{f"d{number}": text for number in range(5)}))
    assert len(shelf.inserts) == 3
    assert sum(shelf.inserts) == report.passages == len(shelf.passages)


async def test_a_large_document_is_told_of_before_it_is_stored(shelf: Shelf, tmp_path: Path) -> None:
    write(tmp_path, a="\n\n".join(f"# Part {number}\n\n" + "word " * 30 for number in range(70)))
    report = IngestReport()
    told: list[tuple[int, float]] = []
    ingester = Ingester(shelf, MODEL, Chunker(token_budget=40, overlap=0))
    await ingester.ingest(
        await found(tmp_path), "docs", report, lambda: told.append((report.sources, report.underway))
    )
    assert [sources for sources, _ in told] == [0, 0, 1]
    assert 0 < told[0][1] < told[1][1] == pytest.approx(1)
    assert told[2][1] == 0
    assert report.embedded == report.passages == len(shelf.passages)


async def test_a_run_that_fails_is_continued_by_the_next(shelf: Shelf, tmp_path: Path) -> None:
    text = "\n\n".join(f"# Part {number}\n\n" + "word " * 30 for number in range(70))
    write(tmp_path, **{f"d{number}": text for number in range(5)})
    shelf.fails_after = 1
    with pytest.raises(StorageError, match="disk full"):
        await ingest(shelf, tmp_path)
    assert len(shelf.texts()) == 2
    assert len({len(stored) for stored in shelf.texts().values()}) == 1
    shelf.fails_after = None
    assert counts(await ingest(shelf, tmp_path)) == (3, 0, 2, 0)
    assert len({len(stored) for stored in shelf.texts().values()}) == 1


async def test_the_next_files_are_read_while_a_batch_is_stored(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n\n".join(f"# Part {number}\n\n" + "word " * 30 for number in range(300))
    write(tmp_path, **{f"d{number}": text for number in range(8)})
    read: list[str] = []
    third = threading.Event()
    real = Path.read_bytes

    def reading(path: Path) -> bytes:
        read.append(path.name)
        if len(read) == 3:
            third.set()
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", reading)
    ahead: list[int] = []
    insert = shelf.insert

    async def slow(store: str, passages: Sequence[NewPassage], *rest: Any) -> None:
        if not shelf.inserts:
            assert await to_thread.run_sync(third.wait, 20)
            await anyio.sleep(0.2)
        ahead.append(len(read) - len(shelf.inserts))
        await insert(store, passages, *rest)

    monkeypatch.setattr(shelf, "insert", slow)
    await ingest(shelf, tmp_path)
    assert len(shelf.texts()) == 8
    assert 3 <= max(ahead) <= 4  # one stored, one waiting, one held, and perhaps one being read


async def test_vanished_files_are_removed_only_on_request(shelf: Shelf, tmp_path: Path) -> None:
    write(tmp_path, a="first", b="second")
    await ingest(shelf, tmp_path)
    (tmp_path / "a.md").unlink()
    assert counts(await ingest(shelf, tmp_path)) == (0, 0, 1, 0)
    assert list(shelf.texts()) == ["a.md", "b.md"]
    assert counts(await ingest(shelf, tmp_path, sync=True)) == (0, 0, 1, 1)
    assert list(shelf.texts()) == ["b.md"]


async def test_documents_of_other_roots_stay(shelf: Shelf, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", a="first", b="second"), write(tmp_path / "two", c="third")
    await ingest(shelf, one, two)
    await shelf.insert(
        "docs",
        [
            NewPassage(
                "x",
                "T\nuploaded",
                {"document_id": "f", "content_hash": "", "source_path": "u", "chunk_index": 0},
            )
        ],
    )
    (one / "a.md").unlink()
    (two / "c.md").unlink()
    assert (await ingest(shelf, one, sync=True)).removed == 1
    assert list(shelf.texts()) == ["b.md", "c.md", "u"]
    (one / "b.md").unlink()
    write(one, d="fourth")
    report = await ingest(shelf, f"{one}/d.md", sync=True)
    assert counts(report) == (1, 0, 0, 0)
    assert list(shelf.texts()) == ["b.md", "c.md", "d.md", "u"]


async def test_a_folder_without_files_empties_nothing(shelf: Shelf, tmp_path: Path) -> None:
    folder, other = write(tmp_path / "docs", a="first"), write(tmp_path / "other", b="second")
    await ingest(shelf, folder, other)
    (folder / "a.md").unlink()
    report = await ingest(shelf, folder, other, sync=True)
    assert report.removed == 0
    assert "its 1 documents are kept" in report.notes[0]
    assert list(shelf.texts()) == ["a.md", "b.md"]


async def test_an_unchanged_file_goes_over_to_the_root_that_is_synchronised(
    shelf: Shelf, tmp_path: Path
) -> None:
    one, two = write(tmp_path / "one", a="same"), write(tmp_path / "two", a="same", b="other")
    await ingest(shelf, one)
    assert counts(await ingest(shelf, two, sync=True)) == (1, 1, 0, 0)
    assert counts(await ingest(shelf, two, sync=True)) == (0, 0, 2, 0)
    (one / "a.md").unlink()
    write(one, z="new")
    assert (await ingest(shelf, one, sync=True)).removed == 0
    assert list(shelf.texts()) == ["a.md", "b.md", "z.md"]


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"\n\n"])
async def test_a_file_that_cannot_be_read_any_more_is_kept_and_named(
    shelf: Shelf, tmp_path: Path, content: bytes
) -> None:
    await ingest(shelf, write(tmp_path, a="first", b="second"))
    (tmp_path / "a.md").write_bytes(content)
    (tmp_path / "new.md").write_bytes(content)
    report = await ingest(shelf, tmp_path, sync=True)
    assert {error.path for error in (*report.skipped, *report.failures)} == {
        str(tmp_path / "a.md"),
        str(tmp_path / "new.md"),
    }
    assert report.kept == {str(tmp_path / "a.md")}
    assert shelf.texts() == {"a.md": "first", "b.md": "second"}


async def test_a_file_of_an_unknown_kind_is_skipped_and_a_page_without_permission_fails(
    shelf: Shelf, tmp_path: Path
) -> None:
    (tmp_path / "x.bin").write_bytes(b"x")
    report = IngestReport()
    sources: list[Source] = [*await found(tmp_path), "http://docs.example.com/"]
    await Ingester(shelf, MODEL).ingest(sources, "docs", report)
    assert [error.cause for error in report.skipped] == ["unsupported type .bin"]
    assert "not allowed" in report.failures[0].cause
    assert (report.sources, report.kept, shelf.passages) == (2, set(), {})


async def test_passages_know_their_place_and_nothing_of_this_machine(shelf: Shelf, tmp_path: Path) -> None:
    await ingest(shelf, write(tmp_path / "docs", a="# A\n\n" + "word " * 100))
    for passage in shelf.passages.values():
        assert passage.metadata["document_id"] == document_id("a.md")
        assert not any(str(tmp_path) in str(value) for value in passage.metadata.values())


def test_chunks_fit_the_embedding_model() -> None:
    document = parse_document(b"word " * 2000, name="a.txt")
    for counter, most in ((None, 220), ((lambda text: len(text.split()), 128), 124)):
        sizes = [chunk.token_count for chunk in chunker_for(counter).chunks(document)]
        assert most * 0.8 < max(sizes) <= most
