"""A process that writes files below a directory without end; prints a line before each."""

import itertools
import sys
from pathlib import Path

from lightspeed.storage.files import write_atomically

CONTENT = b'{"text":"%s","end":true}' % (b"x" * 1_000_000)

if __name__ == "__main__":
    for number in itertools.count():
        print(number, flush=True)
        write_atomically(Path(sys.argv[1], str(number % 3), f"{number % 7}.json"), CONTENT)
