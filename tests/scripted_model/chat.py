"""POST /v1/chat/completions: plays one scripted reply."""

import asyncio
import json
from typing import Any, NoReturn

import anyio
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from tests.scripted_model import wire
from tests.scripted_model.error import ApiError, model_not_found
from tests.scripted_model.protocol import TRANSPORT
from tests.scripted_model.reply import HEADERS, Reply
from tests.scripted_model.script import Script

_EVENT_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class _EndedError(Exception):
    """The reply has ended before its end, as scripted."""


class Chat:
    """The endpoint, as an ASGI application."""

    def __init__(self, script: Script, models: frozenset[str]) -> None:
        self._script = script
        self._models = models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = scope["received"]
        body = request.body
        error = self._objection(body)
        if error:
            await JSONResponse(error.body(), error.status)(scope, receive, send)
            return
        reply = request.reply = self._script.answer(body)
        performance = _Performance(reply, body, next(self._script.numbers), scope, receive, send)
        await performance.play()

    def _objection(self, body: Any) -> ApiError | None:
        if not isinstance(body, dict) or "messages" not in body:
            message = "We could not parse the JSON body of your request."
            return ApiError(400, message, "invalid_request_error")
        model = str(body.get("model"))
        return None if model in self._models else model_not_found(model)


class _Performance:
    """One reply on its way to one client."""

    def __init__(
        self, reply: Reply, body: dict[str, Any], number: int, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._reply = reply
        self._body = body
        self._number = number
        self._transport: asyncio.Transport = scope["extensions"][TRANSPORT]
        self._receive = receive
        self._send = send
        self._points = reply.points()
        self._cut_off = False

    async def play(self) -> None:
        with anyio.CancelScope() as running:
            watcher = asyncio.create_task(self._watch(running))
            try:
                await self._answer()
            except _EndedError:
                return
            finally:
                watcher.cancel()
            self._reply.finished.set()

    async def _watch(self, running: anyio.CancelScope) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._cut_off:
            self._reply.client_gone.set()
        running.cancel()

    async def _answer(self) -> None:
        if self._reply.delay_headers:
            await anyio.sleep(self._reply.delay_headers)
        if HEADERS in self._points:
            await self._incidents(HEADERS)
        if self._body.get("stream"):
            await self._stream()
        else:
            await self._whole()

    async def _stream(self) -> None:
        reply = self._reply
        with_usage = bool((self._body.get("stream_options") or {}).get("include_usage"))
        opening, deltas, closing = wire.stream_tails(reply, with_usage)
        head = b"data: " + wire.head(self._number, self._body["model"], "chat.completion.chunk")
        await self._start(200, _EVENT_STREAM)
        if reply.empty_choices:
            await self._write(head + wire.empty_tail(with_usage))
        else:
            await self._write(head + opening)
            await self._stream_deltas(head, deltas)
            if reply.done:
                await self._write(head + closing)
        if with_usage and reply.done:
            usage = wire.usage_of(reply, self._body["messages"])
            await self._write(head + wire.usage_tail(usage))
        if reply.done:
            await self._write(wire.DONE)
        await self._write(b"", more=False)

    async def _stream_deltas(self, head: bytes, deltas: list[bytes]) -> None:
        reply, send, points, between = self._reply, self._send, self._points, self._reply.delay_between
        if reply.delay_first:
            await anyio.sleep(reply.delay_first)
        reply.sent = 0
        for number, tail in enumerate(deltas):
            if between and number:
                await anyio.sleep(between)
            if number in points:
                await self._incidents(number)
            await send({"type": "http.response.body", "body": head + tail, "more_body": True})
            reply.sent += 1
        if len(deltas) in points:
            await self._incidents(len(deltas))

    async def _whole(self) -> None:
        reply = self._reply
        generating = reply.delay_first + reply.delay_between * max(0, reply.deltas() - 1)
        if generating:
            await anyio.sleep(generating)
        if reply.error is not None and reply.error_at != HEADERS:
            await self._refuse(reply.error)
        head = wire.head(self._number, self._body["model"], "chat.completion")
        body = head + wire.body_tail(reply, wire.usage_of(reply, self._body["messages"]))
        if reply.malformed_at is not None:
            body = wire.MALFORMED_BODY
        length = str(len(body)).encode()
        await self._start(200, [(b"content-type", b"application/json"), (b"content-length", length)])
        middle = len(body) // 2
        await self._write(body[:middle])
        if reply.hang_at is not None:
            await self._hang()
        if reply.cut_at is not None:
            await self._cut()
        await self._write(body[middle:], more=False)
        reply.sent = reply.deltas()

    async def _incidents(self, point: int) -> None:
        reply = self._reply
        if reply.hang_at == point:
            await self._hang()
        if reply.malformed_at == point:
            await self._write(wire.MALFORMED_CHUNK)
        if reply.error is not None and reply.error_at == point:
            await self._refuse(reply.error)
        if reply.cut_at == point:
            await self._cut()

    async def _hang(self) -> None:
        self._reply.reached.set()
        await self._reply.released.wait(timeout=None)

    async def _refuse(self, error: ApiError) -> NoReturn:
        body = json.dumps(error.body()).encode()
        if self._body.get("stream") and self._reply.error_at != HEADERS:
            await self._write(b"data: " + body + b"\n\n")
            await self._write(b"", more=False)
            raise _EndedError
        headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
        await self._start(error.status, [(name.encode(), value.encode()) for name, value in headers.items()])
        await self._write(body, more=False)
        raise _EndedError

    async def _cut(self) -> NoReturn:
        self._cut_off = True
        self._transport.close()
        await anyio.sleep_forever()  # until the watcher sees the closed connection
        raise _EndedError

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        extra = [(name.lower().encode(), value.encode()) for name, value in self._reply.headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *extra]})

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
