"""The engine insists on listening; this gives it a place where nobody can reach it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_SOCKET_PATH = 100
LOOPBACK = "127.0.0.1"


@contextmanager
def unreachable_address() -> Iterator[str]:
    """A host name for the engine's listener, valid while the engine starts.

    A Unix socket in a folder that only this user can enter; the folder is removed at the end, and with it the
    last way in, while the engine keeps its open socket. No TCP port is opened. Where Unix sockets or a temporary
    folder are missing it is the loopback address, which the engine guards with a random key.
    """
    folder = _private_folder()
    if folder is None:
        yield LOOPBACK
        return
    socket = folder / "engine.sock"
    try:
        yield str(socket)
    finally:
        socket.unlink(missing_ok=True)
        folder.rmdir()


def _private_folder() -> Path | None:
    if os.name != "posix":
        return None
    try:
        folder = Path(tempfile.mkdtemp(prefix="llamacpp-"))
    except OSError:
        return None
    if len(os.fsencode(folder)) > LONGEST_SOCKET_PATH - len("/engine.sock"):
        folder.rmdir()
        return None
    return folder
