"""Reading documents in another process."""

import os
import pickle
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio
from anyio import CancelScope, Lock, to_thread
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from lightspeed.documents.document import MAX_BYTES, Document
from lightspeed.documents.finding import DocumentError
from lightspeed.documents.parsing_process import LENGTH, Answer
from lightspeed.errors import Unavailable

_GIGABYTE = 1_000_000_000
_LONGEST_ANSWER = 4 * MAX_BYTES
_GONE = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, ConnectionError)


class DocumentParser:
    """Parses files where they can harm nobody else; an asynchronous context manager.

    Parsers are large and files come from anywhere: one that fills the memory, never ends or crashes its parser fails
    alone. The other process starts with the first file, reads one after the other, and ends with the context.
    """

    def __init__(self, *, memory_bytes: int = 2 * _GIGABYTE, seconds: float = 300.0) -> None:
        """`memory_bytes` bounds the address space of the process, `seconds` the time for one file."""
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._process: Process | None = None
        self._one_at_a_time = Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def parse(
        self,
        data: bytes,
        *,
        name: str,
        path: str | None = None,
        file_name: str | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> Document:
        """As `parse_document`, without blocking. Raises DocumentError, and Unavailable where no process can start."""
        shown = path or name
        request = {"data": data, "name": name, "path": shown, "file_name": file_name, "max_bytes": max_bytes}
        encoded = await to_thread.run_sync(pickle.dumps, request)
        async with self._one_at_a_time:
            answer = await self._answer_to(encoded, shown)
        if isinstance(answer, Document):
            return answer
        kind, shown, cause = answer
        raise kind(shown, cause)

    async def _answer_to(self, request: bytes, shown: str) -> Document | tuple[type[DocumentError], str, str]:
        """What earlier files have left in the process shall harm none: the second attempt has a fresh one."""
        for fresh in (self._process is None, True):
            process = self._process or await self._started()
            self._process = process
            answered = False
            try:
                with anyio.fail_after(self._seconds):
                    answer = await _exchanged(process, request)
                answered = answer is not None
            except TimeoutError:
                raise DocumentError(shown, f"cannot be read within {self._seconds:g} s") from None
            except _TooLong:
                raise DocumentError(shown, "holds too much text") from None
            except _GONE:
                if fresh:
                    raise DocumentError(
                        shown, f"ends its parser: it is damaged, or needs more than {self._memory} of memory"
                    ) from None
            finally:
                if not answered:
                    await self._end()
            if answered and answer is not None:
                return answer
            if fresh:
                break
        raise DocumentError(shown, f"needs more than {self._memory} of memory to be read")

    @property
    def _memory(self) -> str:
        return f"{self._memory_bytes / _GIGABYTE:g} GB"

    async def _started(self) -> Process:
        module = "lightspeed.documents.parsing_process"
        try:
            return await anyio.open_process(
                # -P: what stands in the folder of the user is not imported.
                [sys.executable, "-P", "-m", module, str(self._memory_bytes), str(self._seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # It imports from where this process does, wherever that was started.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        except OSError as error:
            raise Unavailable(f"No process for reading documents can be started: {error.strerror}") from error

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with CancelScope(shield=True):
                with suppress(ProcessLookupError):
                    process.kill()
                await process.aclose()


class _TooLong(Exception):
    """The answer is longer than this process shall hold."""


async def _exchanged(process: Process, request: bytes) -> Answer:
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdin.send(LENGTH.pack(len(request)))
    await process.stdin.send(request)
    stream = BufferedByteReceiveStream(process.stdout)
    (length,) = LENGTH.unpack(await stream.receive_exactly(LENGTH.size))
    if length > _LONGEST_ANSWER:
        raise _TooLong
    encoded = await stream.receive_exactly(length)
    answer: Answer = await to_thread.run_sync(pickle.loads, encoded)
    return answer
