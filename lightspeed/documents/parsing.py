"""Reading documents in another process."""

import pickle
import resource
import signal
from contextlib import suppress
from dataclasses import dataclass

import anyio
from anyio import BrokenWorkerProcess, to_process, to_thread

from lightspeed.documents.document import MAX_BYTES, Document, parse_document
from lightspeed.documents.finding import DocumentError

_GIGABYTE = 1_000_000_000


@dataclass(frozen=True, slots=True)
class DocumentParser:
    """Parses files where they can harm nobody else.

    Parsers are large and files come from anywhere: one that fills the memory, never ends or crashes its parser fails
    alone. `memory_bytes` bounds the address space of the other process, which is kept for the next file.
    """

    memory_bytes: int = 2 * _GIGABYTE
    seconds: float = 300.0

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
        try:
            with anyio.fail_after(self.seconds):
                answer = await to_process.run_sync(
                    _answer, self.memory_bytes, data, name, shown, file_name, max_bytes, cancellable=True
                )
        except TimeoutError:
            raise DocumentError(shown, f"cannot be read within {self.seconds:g} s") from None
        except BrokenWorkerProcess:
            raise DocumentError(
                shown,
                f"ends its parser: it is damaged, or needs more than {self.memory_bytes / _GIGABYTE:g} GB of memory",
            ) from None
        found: Document | tuple[type[DocumentError], str, str] = await to_thread.run_sync(
            pickle.loads, answer
        )
        if isinstance(found, Document):
            return found
        kind, shown, cause = found
        raise kind(shown, cause)


def _answer(
    memory_bytes: int, data: bytes, name: str, path: str, file_name: str | None, max_bytes: int
) -> bytes:
    """The document, or what a DocumentError is made of, pickled: reading that can wait for a thread."""
    # An interrupt of the terminal is for the process that asks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        found: object = parse_document(data, name=name, path=path, file_name=file_name, max_bytes=max_bytes)
    except DocumentError as error:
        found = type(error), error.path, error.cause
    except MemoryError:
        found = DocumentError, path, f"needs more than {memory_bytes / _GIGABYTE:g} GB of memory to be read"
    return pickle.dumps(found)
