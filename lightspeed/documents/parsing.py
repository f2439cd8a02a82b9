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
from lightspeed.documents.parsing_process import LENGTH, Answer, framed

_GIGABYTE = 1_000_000_000
_GONE = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, OSError)


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
        """As `parse_document`, without blocking. Raises DocumentError."""
        shown = path or name
        request = await to_thread.run_sync(
            framed,
            {"data": data, "name": name, "path": shown, "file_name": file_name, "max_bytes": max_bytes},
        )
        async with self._one_at_a_time:
            try:
                with anyio.fail_after(self._seconds):
                    encoded = await self._answer(request)
            except TimeoutError:
                await self._end()
                raise DocumentError(shown, f"cannot be read within {self._seconds:g} s") from None
            except _GONE:
                await self._end()
                raise DocumentError(
                    shown, f"ends its parser: it is damaged, or needs more than {self._memory} of memory"
                ) from None
            except BaseException:
                await self._end()
                raise
        answer: Answer = await to_thread.run_sync(pickle.loads, encoded)
        if isinstance(answer, Document):
            return answer
        if answer is None:
            raise DocumentError(shown, f"needs more than {self._memory} of memory to be read")
        kind, shown, cause = answer
        raise kind(shown, cause)

    @property
    def _memory(self) -> str:
        return f"{self._memory_bytes / _GIGABYTE:g} GB"

    async def _answer(self, request: bytes) -> bytes:
        if self._process is None:
            self._process = await self._started()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.send(request)
        stream = BufferedByteReceiveStream(process.stdout)
        (length,) = LENGTH.unpack(await stream.receive_exactly(LENGTH.size))
        return await stream.receive_exactly(length)

    async def _started(self) -> Process:
        return await anyio.open_process(
            [sys.executable, "-m", "lightspeed.documents.parsing_process", str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # It imports from where this process does, wherever that was started.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with CancelScope(shield=True):
                with suppress(ProcessLookupError):
                    process.kill()
                await process.aclose()
