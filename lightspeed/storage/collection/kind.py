"""One pass over the files of one kind."""

from collections.abc import Iterable, Iterator
from itertools import batched
from pathlib import Path

from lightspeed.errors import ConfigurationError
from lightspeed.storage.collection.archive import Archive
from lightspeed.storage.collection.ingress import Answer, Ingress
from lightspeed.storage.collection.journal import Batch, Journal
from lightspeed.storage.collection.ledger import Ledger
from lightspeed.storage.collection.report import CollectionReport
from lightspeed.storage.collection.source_files import SourceFile, find_files, in_batches, remove_files
from lightspeed.storage.collection.threads import run_to_end

_MOST_FILES = 10_000
_MOST_REFUSALS = 3
_REMOVED_AT_ONCE = 500


class KindCollection:
    """Sends what is there of one kind, a batch at a time. Made for one pass, by the holder of its lock.

    The steps that block are plain methods; each runs to its end in a thread.
    """

    def __init__(
        self,
        kind: str,
        root: Path,
        directory: Path,
        ingress: Ingress,
        report: CollectionReport,
        *,
        elsewhere: frozenset[str],
        cleanup: bool,
        most_bytes: int,
    ) -> None:
        """`elsewhere` are the real paths of the other kinds' directories; these may lie below `root`."""
        self._kind = kind
        self._root = root
        self._directory = directory
        self._ingress = ingress
        self._report = report
        self._elsewhere = elsewhere
        self._cleanup = cleanup
        self._most_bytes = most_bytes
        self._journal = Journal(directory)
        self._found = 0
        self._unseen = 0
        self._unreadable = 0
        self._unremovable = 0
        self._refusals = 0

    async def run(self) -> None:
        """First what an earlier pass has begun, then what is new. Raises OSError or ConfigurationError."""
        self._ledger = await run_to_end(self._open_ledger)
        try:
            if await self._go_on():
                await self._send_new()
        finally:
            self._tell_of(self._unreadable, "cannot be read")
            self._tell_of(self._unseen, "or directories cannot be looked at")
            self._tell_of(self._unremovable, "are sent, but cannot be removed")

    async def _go_on(self) -> bool:
        """Finish what is under way. False when the kind has to wait for the next pass."""
        for batch in await run_to_end(self._journal.batches, self._kind):
            if batch.confirmed:
                await self._finish(batch)
            elif not await self._send(batch, again=True):
                return False
        return True

    async def _send_new(self) -> None:
        waiting = {
            file for batch in await run_to_end(self._journal.batches, self._kind) for file in batch.files
        }
        batches = in_batches(self._unsent(waiting), most_bytes=self._most_bytes, most_files=_MOST_FILES)
        while files := await run_to_end(next, batches, None):
            if not await self._send(Batch.new(self._kind, files), again=False):
                return
        # Nothing at all is more likely a directory that is not mounted.
        if self._found and not self._unseen:
            await run_to_end(self._ledger.compact)

    async def _send(self, batch: Batch, *, again: bool) -> bool:
        """Send one batch and finish it. False when the kind has to wait for the next pass."""
        archive = Archive(self._directory)
        try:
            packed = await run_to_end(self._pack_again if again else self._pack_new, batch, archive)
            if packed is None:
                return True
            answer = await self._ingress.send(packed.archive_name, archive)
            if answer.confirmed:
                await run_to_end(self._confirm, packed)
                await self._finish(packed)
                return True
        finally:
            await run_to_end(archive.close)
        return self._note_failure(packed, answer)

    async def _finish(self, batch: Batch) -> None:
        """Remove the files of a confirmed batch, or note them as sent; may be repeated."""
        kept: list[SourceFile] = []
        if self._cleanup:
            # A few at a time: who is cancelled has to wait for these only.
            for files in batched(batch.files, _REMOVED_AT_ONCE):
                kept += await run_to_end(self._remove, files)
        else:
            kept += batch.files
        await run_to_end(self._forget, batch, kept)

    def _open_ledger(self) -> Ledger:
        if str(self._root.resolve()) in self._elsewhere:
            raise ConfigurationError("is in the same directory as another kind")
        ledger = Ledger(self._directory, self._kind)
        if self._cleanup and ledger:
            # What was not to be removed when it was sent, or could not be.
            sent = (file for file in self._files() if ledger.holds(file))
            for files in batched(sent, _REMOVED_AT_ONCE):
                kept = self._remove(files)
                ledger.drop(set(files).difference(kept))
        return ledger

    def _unsent(self, waiting: set[SourceFile]) -> Iterator[SourceFile]:
        self._unseen = 0
        for file in self._files():
            self._found += 1
            if not self._ledger.holds(file) and file not in waiting:
                yield file

    def _files(self) -> Iterator[SourceFile]:
        def count(_: OSError) -> None:
            self._unseen += 1

        return find_files(self._root, without=self._elsewhere, on_error=count)

    def _pack_new(self, batch: Batch, archive: Archive) -> Batch | None:
        """The batch with what could be packed, planned from now on. None when that is nothing."""
        contents = archive.pack(self._root, self._kind, batch.files)
        self._unreadable += contents.unreadable
        if not contents.files:
            return None
        packed = batch.of(contents.files)
        self._journal.write(packed)
        return packed

    def _pack_again(self, batch: Batch, archive: Archive) -> Batch | None:
        """None when a file has changed or is gone: the same name must never stand for other content."""
        contents = archive.pack(self._root, self._kind, batch.files)
        if len(contents.files) == len(batch.files):
            return batch
        # What is left is found anew.
        self._journal.remove(batch)
        return None

    def _confirm(self, batch: Batch) -> None:
        self._journal.write(batch.as_confirmed())
        self._report.files += len(batch.files)
        self._report.size += sum(file.size for file in batch.files)
        self._report.archives += 1

    def _forget(self, batch: Batch, kept: list[SourceFile]) -> None:
        if kept:
            self._ledger.add(batch.name, kept)
        self._journal.remove(batch)

    def _remove(self, files: Iterable[SourceFile]) -> list[SourceFile]:
        kept = remove_files(self._root, files)
        self._unremovable += len(kept)
        return kept

    def _note_failure(self, batch: Batch, answer: Answer) -> bool:
        self._tell_of(len(batch.files), f"are not sent: {answer.reason}")
        self._refusals += 1
        return answer.others_may_pass and self._refusals < _MOST_REFUSALS

    def _tell_of(self, files: int, what: str) -> None:
        if files:
            self._report.failures.append(f"{self._kind}: {files} files {what}")
