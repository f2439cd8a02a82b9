"""The id of the request that is being served, for every log line that it causes."""

import re
from contextvars import ContextVar
from uuid import uuid4

NO_REQUEST = "-"
current_request_id: ContextVar[str] = ContextVar("request_id", default=NO_REQUEST)

_ACCEPTED = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


def request_id_from(given: bytes | None) -> str:
    """The id that the client gave, if it is harmless; else a new UUID4."""
    if given is not None and _ACCEPTED.fullmatch(given):
        return given.decode("ascii")
    return str(uuid4())
