"""Which versions of Llama Stack this service can speak to."""

import re
from typing import Final

OLDEST: Final = (0, 4, 0)  # since then passages and models have the shapes that are used here
BEFORE: Final = (0, 8, 0)

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def unsupported(version: str) -> str | None:
    """Why a server of this version cannot be used, if so."""
    found = _VERSION.search(version)
    oldest = ".".join(map(str, OLDEST))
    newest = f"{BEFORE[0]}.{BEFORE[1] - 1}"
    if found is None:
        return f"it does not tell its version; {oldest} to {newest}.x are supported"
    if OLDEST <= tuple(map(int, found.groups())) < BEFORE:
        return None
    return f"its version {found.group()} is not supported; {oldest} to {newest}.x are"
