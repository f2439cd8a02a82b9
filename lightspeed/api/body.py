"""Reading the body of a request within a limit."""

from typing import Any, Final

from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from lightspeed.api.errors import SchemaError
from lightspeed.api.json_codec import MalformedJSON, decode
from lightspeed.errors import TooLarge


def limited(scope: Scope, receive: Receive, limit: int) -> Receive:
    """`receive` that raises TooLarge once more than `limit` bytes are announced or have arrived.

    The announcement is looked at on the first read, so that a client which waits for `100 Continue`
    never sends the body.
    """
    received = 0
    announced = False

    async def limited_receive() -> Message:
        nonlocal received, announced
        if not announced:
            announced = True
            if _content_length(scope) > limit:
                raise _too_large(limit)
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit)
        return message

    return limited_receive


ABSENT: Final = object()


async def read_json(request: Request) -> Any:
    """The value of a JSON body; ABSENT if it is empty; text if the content type says that it is not JSON.

    Raises SchemaError if the JSON is malformed.
    """
    content = await request.body()
    if not content:
        return ABSENT
    if not _is_json(request.headers.get("content-type")):
        return content.decode(errors="replace")
    try:
        return decode(content)
    except MalformedJSON as error:
        raise SchemaError.malformed(error) from None


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value[:18]) if value.isdigit() else 0
    return 0


def _is_json(content_type: str | None) -> bool:
    if not content_type:
        return True
    main, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return main == "application" and (subtype == "json" or subtype.endswith("+json"))


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The request body exceeds the limit of {limit} bytes.")
