"""The HTTP below one connection to an MCP server."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import anyio
import httpx
from pydantic_core import from_json

from lightspeed.tools.mcp.body import LimitedStream, read_limited
from lightspeed.tools.mcp.failure import McpFailure
from lightspeed.tools.mcp.wording import one_line

TransportName = Literal["http", "sse"]
CONNECT_SECONDS = 2.0
_SHORT_SECONDS = 5.0  # for what nobody waits for
_JSON, _EVENTS = "application/json", "text/event-stream"

type RequestNumber = int | str


class Waiting(Protocol):
    def fail(self, number: RequestNumber, failure: McpFailure) -> None:
        """The request of that number gets no answer. Does nothing if it has one, or waits no longer."""
        ...

    def fail_all(self, failure: McpFailure) -> None:
        """Nothing more comes over this connection."""
        ...


class Wire(httpx.AsyncBaseTransport):
    """Tells each failure to the one request that it concerns.

    To the SDK above, any failed HTTP exchange ends the connection and so all its requests, and a stream that breaks
    off says nothing. So failures are told to `waiting`, and the SDK hears that all is well. Answers are limited in
    size, and redirects stay at the server's origin.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, kind: TransportName, *, redirects: bool) -> None:
        self._inner = inner
        self._kind = kind
        self._redirects = redirects
        self._running: dict[RequestNumber, Callable[[], None]] = {}
        self.passing: dict[RequestNumber, Mapping[str, str]] = {}
        """Headers that one request is sent with."""
        self.waiting: Waiting | None = None
        self.failure: McpFailure | None = None
        """What kept the stream of events from being opened."""

    def abandon(self, number: RequestNumber) -> None:
        """Break off the exchange of a request that nobody waits for."""
        if (stop := self._running.pop(number, None)) is not None:
            stop()

    def forget(self, number: RequestNumber) -> None:
        """The request has its answer."""
        self._running.pop(number, None)
        self.passing.pop(number, None)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            await request.aread()  # One that follows a redirect has not been read yet.
            number = _number(request)
            if number is not None:
                return await self._asked(request, number)
            return await self._told(request)
        if request.method == "DELETE":
            return await self._told(request)
        return await self._events(request)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _asked(self, request: httpx.Request, number: RequestNumber) -> httpx.Response:
        for name, value in self.passing.get(number, {}).items():
            request.headers[name] = value
        with anyio.CancelScope() as scope:
            self._running[number] = scope.cancel
            try:
                response = await self._sent(request)
                return response if _goes_on(response) else await self._answer(request, response, number)
            except McpFailure as failure:
                self._fail(number, failure)
        return httpx.Response(202)

    async def _answer(
        self, request: httpx.Request, response: httpx.Response, number: RequestNumber
    ) -> httpx.Response:
        if not response.is_success:
            await response.aclose()
            raise _of_status(response, in_session="mcp-session-id" in request.headers)
        if self._kind == "sse":  # The answer comes with the events.
            await response.aclose()
            return httpx.Response(202)
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == _EVENTS:

            def ended(failure: McpFailure) -> None:
                self._fail(number, failure)

            stream = LimitedStream(response.stream, whole=True, ended=ended)
            self._running[number] = stream.stop
            response.stream = stream
            return response
        if media_type != _JSON:
            await response.aclose()
            raise McpFailure("garbled", "answered with something that is not of the Model Context Protocol")
        data = _valid_message(await read_limited(response), number)
        headers = {"content-type": _JSON}
        if session := response.headers.get("mcp-session-id"):
            headers["mcp-session-id"] = session
        return httpx.Response(200, headers=headers, content=data)

    async def _told(self, request: httpx.Request) -> httpx.Response:
        """For what needs no answer: a failure of it shows at the next request."""
        _limit(request, _SHORT_SECONDS)
        try:
            response = await self._sent(request)
        except McpFailure:
            return httpx.Response(202)
        if _goes_on(response):
            return response
        await response.aclose()
        return httpx.Response(202 if request.method == "POST" else 200)

    async def _events(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._sent(request)
            if _goes_on(response):
                return response
            if not response.is_success:
                await response.aclose()
                raise _of_status(response, in_session=False)
            media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if media_type != _EVENTS:
                await response.aclose()
                raise McpFailure(
                    "garbled", "answered with something that is not of the Model Context Protocol"
                )
        except McpFailure as failure:
            self.failure = failure
            # No content and no events: the SDK takes it as the end, and asks no more.
            return httpx.Response(failure.status or 502, request=request)
        response.stream = LimitedStream(response.stream, whole=False, ended=self._events_ended)
        return response

    def _events_ended(self, failure: McpFailure) -> None:
        # The SDK notices an end by itself, but not why.
        if self._kind == "sse" and failure.kind == "garbled" and self.waiting is not None:
            self.waiting.fail_all(failure)

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._inner.handle_async_request(request)
        except (httpx.ConnectTimeout, httpx.PoolTimeout):
            raise McpFailure("unreachable", f"cannot be reached within {CONNECT_SECONDS:g} s") from None
        except httpx.ConnectError as error:
            raise McpFailure(
                "unreachable", f"cannot be reached: {one_line(str(error)).rstrip('.')}"
            ) from None
        except httpx.TimeoutException:
            raise McpFailure("slow", "did not answer in time") from None
        except httpx.TooManyRedirects:
            raise McpFailure("status", "redirects to another address, which is not followed") from None
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol):
            raise McpFailure("unreachable", "cannot be sent this request") from None
        except Exception:
            raise McpFailure("lost", "ended the connection before it answered") from None
        if response.headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
            # Not asked for. A small answer could unpack to a huge one.
            await response.aclose()
            raise McpFailure("garbled", "sent an answer that is packed, which was not asked for")
        if response.has_redirect_location and not self._may_follow(request, response):
            await response.aclose()
            raise McpFailure("status", "redirects to another address, which is not followed")
        return response

    def _may_follow(self, request: httpx.Request, response: httpx.Response) -> bool:
        try:
            target = request.url.join(response.headers["location"])
        except httpx.InvalidURL:
            return False
        here = request.url
        same = (here.scheme, here.host, here.port) == (target.scheme, target.host, target.port)
        # Any other status turns what is sent into a GET.
        kept = request.method == "GET" or response.status_code in {307, 308}
        return self._redirects and same and kept and (not target.userinfo or target.userinfo == here.userinfo)

    def _fail(self, number: RequestNumber, failure: McpFailure) -> None:
        if self.waiting is not None:
            self.waiting.fail(number, failure)


def encoded(value: str) -> bytes:
    """A header's value as bytes. What came with a request was read as Latin-1, and goes out as it came in."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


def new_client(wire: Wire, headers: Mapping[str, str], user_agent: str) -> httpx.AsyncClient:
    """The client that the SDK uses for one connection. It makes no redirects of its own and reads no environment."""
    own = {"user-agent": user_agent, "accept-encoding": "identity"}
    given = {name.lower() for name in headers}
    pairs = [(name.encode(), value.encode()) for name, value in own.items() if name not in given]
    pairs += [(name.encode(), encoded(value)) for name, value in headers.items()]
    return httpx.AsyncClient(
        transport=wire,
        headers=pairs,
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS, write=30.0),
        trust_env=False,
        follow_redirects=False,
        max_redirects=3,
    )


def _number(request: httpx.Request) -> RequestNumber | None:
    try:
        message: Any = from_json(request.content)
    except ValueError:
        return None
    return message.get("id") if isinstance(message, dict) and "method" in message else None


def _goes_on(response: httpx.Response) -> bool:
    """A redirect that was allowed; the SDK follows it."""
    return response.has_redirect_location


def _limit(request: httpx.Request, seconds: float) -> None:
    timeout = {"connect": CONNECT_SECONDS, "read": seconds, "write": seconds, "pool": CONNECT_SECONDS}
    request.extensions = {**request.extensions, "timeout": timeout}


def _of_status(response: httpx.Response, *, in_session: bool) -> McpFailure:
    status = response.status_code
    if status == httpx.codes.UNAUTHORIZED:
        challenge = one_line(response.headers.get("www-authenticate", ""), most=4096)
        return McpFailure("unauthorized", "wants other credentials", status=status, challenge=challenge)
    if status == httpx.codes.NOT_FOUND and in_session:
        return McpFailure("gone", "does not know this session any more", status=status)
    phrase = httpx.codes.get_reason_phrase(status)
    return McpFailure("status", f"answered {status} {phrase}".rstrip(), status=status)


def _valid_message(data: bytes, number: RequestNumber) -> bytes:
    """The answer to a request, made valid where only its text is not. Raises McpFailure."""
    try:
        message = from_json(data)
    except ValueError:
        try:
            message = json.loads(data.decode(errors="replace"))
            data = json.dumps(message, ensure_ascii=False).encode(errors="replace")
        except (ValueError, RecursionError):
            raise McpFailure("garbled", "answered with something that is not JSON") from None
    answers = isinstance(message, dict) and ("result" in message or "error" in message)
    if not answers or str(message.get("id")) != str(number):
        raise McpFailure("garbled", "answered with something that is not of the Model Context Protocol")
    return data
