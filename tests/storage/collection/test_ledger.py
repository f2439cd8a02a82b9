from pathlib import Path

from lightspeed.storage.collection.ledger import Ledger
from lightspeed.storage.collection.source_files import SourceFile


def files(start: int, end: int) -> list[SourceFile]:
    return [SourceFile(f"u/{number}.json", number, number, number) for number in range(start, end)]


def held(directory: Path, candidates: list[SourceFile]) -> list[SourceFile]:
    ledger = Ledger(directory, "feedback")
    return [file for file in candidates if ledger.holds(file)]


def test_what_was_sent_is_known_afterwards(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "feedback")
    ledger.add("feedback-1", files(0, 3))
    ledger.add("feedback-1", files(0, 3))
    ledger.add("feedback-2", files(3, 5))
    assert all(ledger.holds(file) for file in files(0, 5))
    assert held(tmp_path, files(0, 10)) == files(0, 5)
    assert len(Ledger(tmp_path, "transcripts")) == 0


def test_another_version_of_a_file_is_not_known_but_a_restored_one_is(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "feedback")
    ledger.add("feedback-1", [SourceFile("a.json", 1, 2, 3)])
    assert ledger.holds(SourceFile("a.json", 1, 2, 4))
    assert not ledger.holds(SourceFile("a.json", 2, 2, 3))
    assert not ledger.holds(SourceFile("a.json", 1, 3, 3))
    assert not ledger.holds(SourceFile("b.json", 1, 2, 3))


def test_many_segments_become_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "feedback")
    for number in range(100):
        ledger.add(f"feedback-{number}", files(number, number + 1))
    ledger.compact()
    [segment] = tmp_path.iterdir()
    assert segment.stat().st_size == 100 * 16
    assert held(tmp_path, files(0, 200)) == files(0, 100)
    assert all(ledger.holds(file) for file in files(0, 100))


def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    Ledger(tmp_path, "feedback").add("feedback-1", files(0, 100))
    few = Ledger(tmp_path, "feedback")
    assert all(few.holds(file) for file in files(0, 60))
    few.compact()
    assert held(tmp_path, files(0, 100)) == files(0, 100)  # not worth the writing yet
    many = Ledger(tmp_path, "feedback")
    assert all(many.holds(file) for file in files(0, 40))
    many.compact()
    assert held(tmp_path, files(0, 100)) == files(0, 40)


def test_what_has_been_removed_is_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "feedback")
    ledger.add("feedback-1", files(0, 10))
    ledger.drop(files(0, 10))
    assert len(ledger) == 0
    ledger.compact()
    assert list(tmp_path.iterdir()) == []
