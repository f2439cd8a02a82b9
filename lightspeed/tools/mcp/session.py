"""Sessions of the MCP SDK. This module alone imports the SDK, which takes a second: import it in a thread."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, override

import anyio
import httpx
from mcp import types
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import McpError
from pydantic import BaseModel, ValidationError

from lightspeed.tools.mcp.failure import McpFailure
from lightspeed.tools.mcp.wire import RequestNumber, TransportName, Wire
from lightspeed.tools.mcp.wording import one_line

_MOST_PAGES = 20
_MOST_TOOLS = 1000
_LISTED = {"name", "title", "description", "inputSchema"}

# They write addresses with all that stands in them, and what servers have sent. Failures are told anyway.
for _name in ("mcp.client", "client"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_Result = TypeVar("_Result", bound=BaseModel)


@dataclass(slots=True, eq=False)
class _Request:
    scope: anyio.CancelScope
    failure: McpFailure | None = None


class Session(ClientSession):
    """A session whose requests fail one by one, each with its own McpFailure."""

    def __init__(
        self, read: Any, write: Any, wire: Wire, *, tools_changed: Callable[[], None], version: str
    ) -> None:
        super().__init__(
            read,
            write,
            message_handler=self._heard,
            client_info=types.Implementation(name="lightspeed", version=version),
        )
        self._wire = wire
        self._tools_changed = tools_changed
        self._requests: dict[RequestNumber, _Request] = {}
        self._notices: set[asyncio.Task[None]] = set()
        self._lost: McpFailure | None = None
        wire.waiting = self

    async def tools(self) -> list[dict[str, Any]]:
        """All tools as the server lists them. Raises McpFailure."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            parameters = types.PaginatedRequestParams(cursor=cursor) if cursor else None
            request = types.ClientRequest(types.ListToolsRequest(params=parameters))
            page = await self.send_request(request, types.ListToolsResult)
            found += [tool.model_dump(mode="json", by_alias=True, include=_LISTED) for tool in page.tools]
            cursor = page.nextCursor
            if not cursor or len(found) >= _MOST_TOOLS:
                break
        return found[:_MOST_TOOLS]

    async def call(
        self, name: str, arguments: Mapping[str, Any], passing: Mapping[str, str]
    ) -> dict[str, Any]:
        """The result of a tool, as in the protocol. Raises McpFailure. Cancelling it cancels the call."""
        parameters = types.CallToolRequestParams(name=name, arguments=dict(arguments))
        request = types.ClientRequest(types.CallToolRequest(params=parameters))
        if passing:
            self._wire.passing[self._request_id] = passing
        # Not `call_tool`, which may list the tools again to check what it got.
        result = await self.send_request(request, types.CallToolResult)
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)

    def fail(self, number: RequestNumber, failure: McpFailure) -> None:
        request = self._requests.get(number)
        if request is not None and request.failure is None:
            request.failure = failure
            request.scope.cancel()

    def fail_all(self, failure: McpFailure) -> None:
        """The connection is lost."""
        self._lost = self._lost or failure
        for number in list(self._requests):
            self.fail(number, failure)

    @property
    def lost(self) -> bool:
        return self._lost is not None

    @override
    async def send_request(
        self,
        request: types.ClientRequest,
        result_type: type[_Result],
        *args: Any,
        **options: Any,
    ) -> _Result:
        if self._lost is not None:
            raise McpFailure("gone", "has ended the connection")
        number = self._request_id  # what the SDK takes, for nothing can happen in between
        waiting = self._requests[number] = _Request(anyio.CancelScope())
        answered = False
        try:
            with waiting.scope:
                result: _Result = await super().send_request(request, result_type, *args, **options)
                answered = True
                return result
            assert waiting.failure is not None
            raise waiting.failure
        except McpError as error:
            answered = True
            raise self._told(error) from None
        except ValidationError:
            answered = True
            raise McpFailure(
                "garbled", "answered with something that is not of the Model Context Protocol"
            ) from None
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise McpFailure("gone", "has ended the connection") from None
        finally:
            del self._requests[number]
            if not answered and waiting.failure is None:
                self._give_up(number, request)
            self._wire.forget(number)

    def _told(self, error: McpError) -> McpFailure:
        closed = error.error.code == types.CONNECTION_CLOSED and error.error.message == "Connection closed"
        if closed:
            return self._lost or McpFailure("lost", "ended the connection before it answered")
        message = one_line(error.error.message, most=2000) or "no message"
        return McpFailure("refused", f"answered with error {error.error.code}: {message}")

    def _give_up(self, number: RequestNumber, request: types.ClientRequest) -> None:
        """Tell the server that nobody waits any longer; the protocol forbids that for the first request."""
        self._wire.abandon(number)
        if isinstance(request.root, types.InitializeRequest) or self.lost:
            return
        parameters = types.CancelledNotificationParams(requestId=number, reason="Nobody waits for it.")
        notice = types.ClientNotification(types.CancelledNotification(params=parameters))
        task = asyncio.create_task(self._notify(notice))
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)

    async def _notify(self, notice: types.ClientNotification) -> None:
        try:
            with anyio.move_on_after(5):
                await self.send_notification(notice)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            return

    async def _heard(self, message: Any) -> None:
        if isinstance(message, types.ServerNotification):
            if isinstance(message.root, types.ToolListChangedNotification):
                self._tools_changed()
        elif isinstance(message, ValueError | httpx.HTTPError):
            # Whose answer it was cannot be told.
            self.fail_all(McpFailure("garbled", "sent something that is not of the Model Context Protocol"))
        else:
            await anyio.lowlevel.checkpoint()

    async def end(self) -> None:
        for task in self._notices:
            task.cancel()
        await asyncio.gather(*self._notices, return_exceptions=True)


@asynccontextmanager
async def opened(
    kind: TransportName,
    url: str,
    client: httpx.AsyncClient,
    wire: Wire,
    *,
    tools_changed: Callable[[], None],
    version: str,
) -> AsyncGenerator[Session]:
    """An initialized session. Enter and leave it in one task. Raises McpFailure, alone or in a group."""

    def made(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx.AsyncClient:
        return client

    async with AsyncExitStack() as stack:
        if kind == "http":
            await stack.enter_async_context(client)
            read, write, _ = await stack.enter_async_context(streamable_http_client(url, http_client=client))
        else:  # The SDK opens and closes this client.
            read, write = await stack.enter_async_context(sse_client(url, httpx_client_factory=made))
        session = Session(read, write, wire, tools_changed=tools_changed, version=version)
        yield await stack.enter_async_context(_initialized(session))


@asynccontextmanager
async def _initialized(session: Session) -> AsyncGenerator[Session]:
    async with session:
        try:
            try:
                await session.initialize()
            except RuntimeError:  # a version of the protocol that the SDK does not know
                raise McpFailure("garbled", "speaks a version of the protocol that is not known") from None
            yield session
        finally:
            session.fail_all(McpFailure("lost", "ended the connection before it answered"))
            await session.end()
