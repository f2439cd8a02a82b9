import re
import stat
from pathlib import Path

import pytest

from lightspeed.storage.collection.journal import Batch, Journal
from lightspeed.storage.collection.source_files import SourceFile

FILES = (SourceFile("a.json", 1, 1_900_000_000_123_456_789, 3), SourceFile("u/ä\udcff\n.json", 4, 5, 2**63))


def test_a_batch_comes_back_as_it_was(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "collector")
    batch = Batch.new("feedback", FILES)
    journal.write(batch)
    assert Journal(tmp_path / "collector").batches("feedback") == [batch]
    journal.write(batch.as_confirmed())
    assert Journal(tmp_path / "collector").batches("feedback") == [batch.as_confirmed()]
    assert journal.batches("transcripts") == []
    journal.remove(batch)
    journal.remove(batch)
    assert list((tmp_path / "collector").iterdir()) == []


def test_names_are_unique_and_an_exporter_does_not_want_the_files(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    batches = [Batch.new("feedback", FILES) for _ in range(20)]
    assert len({batch.archive_name for batch in batches}) == 20
    for batch in batches:
        journal.write(batch)
        assert re.fullmatch(r"lightspeed-feedback-\d{8}T\d{6}Z-[0-9a-f]{16}\.tar\.gz", batch.archive_name)
    assert len(journal.batches("feedback")) == 20
    assert list(tmp_path.rglob("*.json")) == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"version": 2, "confirmed": false, "files": []}',
        b'{"version": 1, "confirmed": false, "files": [["a"]]}',
    ],
)
def test_what_is_not_understood_is_set_aside(tmp_path: Path, content: bytes) -> None:
    journal = Journal(tmp_path)
    batch = Batch.new("feedback", FILES)
    journal.write(batch)
    (tmp_path / "feedback-0.batch").write_bytes(content)
    assert journal.batches("feedback") == [batch]
    assert (tmp_path / "feedback-0.unreadable").read_bytes() == content
    assert journal.batches("feedback") == [batch]
