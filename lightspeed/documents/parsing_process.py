"""The process that parses documents: `python -m lightspeed.documents.parsing_process BYTES SECONDS`.

It takes requests from standard input and answers on standard output, each as 8 bytes of length and a pickled object,
and ends with its input. BYTES bounds its address space; SECONDS end it in the middle of a file, should the process
that asked not do so any more.
"""

import os
import pickle
import resource
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from lightspeed.documents.document import Document, parse_document
from lightspeed.documents.finding import DocumentError

LENGTH = struct.Struct(">Q")
_SECONDS_LATER = 10.0  # than the process that asked ends it

type Answer = Document | tuple[type[DocumentError], str, str] | None
"""A document, what a DocumentError is made of, or None where there was not enough memory."""


def serve(requests: BinaryIO, answers: BinaryIO, seconds: float) -> None:
    while head := requests.read(LENGTH.size):
        request = pickle.loads(requests.read(*LENGTH.unpack(head)))  # noqa: S301 (of its own parent)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            encoded = pickle.dumps(_answer(request))
        except MemoryError:
            encoded = pickle.dumps(None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(LENGTH.pack(len(encoded)))
        answers.write(encoded)
        answers.flush()


def _answer(request: dict[str, Any]) -> Answer:
    try:
        return parse_document(**request)
    except DocumentError as error:
        return type(error), error.path, error.cause


def _main(memory_bytes: int, seconds: float) -> None:
    # An interrupt of the terminal is for the process that asks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with suppress(OSError):
        # Where memory is short, this process goes and not the service.
        Path("/proc/self/oom_score_adj").write_text("1000")
    # What a library prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    serve(sys.stdin.buffer, answers, seconds + _SECONDS_LATER)


if __name__ == "__main__":
    _main(int(sys.argv[1]), float(sys.argv[2]))
