"""A process that writes files below a directory without end; prints a line before each."""

import itertools
import json
import sys
from pathlib import Path

from lightspeed.storage.files import write_atomically

TEXT = "x" * 300_000

if __name__ == "__main__":
    for number in itertools.count():
        print(number, flush=True)
        content = {"text": TEXT, "number": number, "end": True}
        write_atomically(
            Path(sys.argv[1], str(number % 3), f"{number % 7}.json"), json.dumps(content).encode()
        )
