"""The process that parses documents: `python -m lightspeed.documents.parsing_process BYTES`.

It takes requests from standard input and answers on standard output, each as 8 bytes of length and a pickled object,
and ends with its input. BYTES bounds its address space.
"""

import os
import pickle
import resource
import signal
import struct
import sys
from contextlib import suppress
from typing import BinaryIO

from lightspeed.documents.document import Document, parse_document
from lightspeed.documents.finding import DocumentError

LENGTH = struct.Struct(">Q")

type Answer = Document | tuple[type[DocumentError], str, str] | None
"""A document, what a DocumentError is made of, or None where there was not enough memory."""


def framed(message: object) -> bytes:
    encoded = pickle.dumps(message)
    return LENGTH.pack(len(encoded)) + encoded


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    while head := requests.read(LENGTH.size):
        request = pickle.loads(requests.read(*LENGTH.unpack(head)))  # noqa: S301 (of its own parent)
        try:
            answer: Answer = parse_document(**request)
        except DocumentError as error:
            answer = type(error), error.path, error.cause
        except MemoryError:
            answer = None
        answers.write(framed(answer))
        answers.flush()


def _main() -> None:
    # An interrupt of the terminal is for the process that asks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, ValueError):
        limit = int(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    # What a library prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    _main()
