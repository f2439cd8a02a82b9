"""Heartbeats, and streams that break."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from lightspeed.api.event_stream import EventStream, encoded
from lightspeed.api.stream_events import JSONEvents, TextEvents
from lightspeed.assistant.events import (
    Completed,
    Event,
    Failed,
    Interrupted,
    Started,
    Token,
    ToolCall,
    ToolResult,
    Usage,
)
from lightspeed.assistant.turn import Turn
from lightspeed.errors import ProviderUnavailable
from lightspeed.retrieval.references import ReferencedDocument

pytestmark = pytest.mark.anyio

HEARTBEAT = b": heartbeat\n\n"
STARTED = Started("c" * 48, "r1", "acme", "m1", datetime(2030, 1, 2, tzinfo=UTC))
COMPLETED = Completed("Two", Usage(4, 1), (), (), False, datetime(2030, 1, 2, tzinfo=UTC))


class Client:
    """What has been sent; wakes whoever waits for a number of heartbeats."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.messages: list[str] = []
        self.ended = False
        self._heard = asyncio.Event()

    async def send(self, message: Any) -> None:
        assert not self.ended
        self.messages.append(message["type"])
        if message["type"] == "http.response.body":
            self.ended = not message["more_body"]
            self.chunks.append(message["body"])
            self._heard.set()

    async def heartbeats(self, number: int) -> None:
        while self.chunks.count(HEARTBEAT) < number:
            self._heard.clear()
            await asyncio.wait_for(self._heard.wait(), 30)


async def test_a_silent_stream_gets_comment_lines_between_its_events() -> None:
    client = Client()

    async def content() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await client.heartbeats(2)
        yield b"data: 2\n\n"
        await client.heartbeats(3)
        yield b"data: 3\n\n"

    await EventStream(content(), media_type="text/event-stream", heartbeat=0.01).stream_response(client.send)
    assert client.messages[0] == "http.response.start"
    assert [chunk for chunk in client.chunks if chunk != HEARTBEAT] == [
        b"data: 1\n\n",
        b"data: 2\n\n",
        b"data: 3\n\n",
        b"",
    ]
    assert client.chunks[1:3] == [HEARTBEAT, HEARTBEAT]
    assert client.chunks[4] == HEARTBEAT


async def test_nothing_follows_the_end_of_a_stream() -> None:
    client = Client()

    async def content() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await client.heartbeats(1)

    await EventStream(content(), media_type="text/event-stream", heartbeat=0.001).stream_response(client.send)
    assert client.ended
    # The client refuses what comes after the end.
    await asyncio.sleep(0.02)
    assert client.chunks[-1] == b""


async def test_a_heartbeat_stops_with_the_client() -> None:
    client = Client()

    async def content() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await asyncio.Event().wait()

    stream = EventStream(content(), media_type="text/event-stream", heartbeat=0.001)
    sending = asyncio.create_task(stream.stream_response(client.send))
    await client.heartbeats(1)
    sending.cancel()
    await asyncio.wait([sending])
    sent = len(client.chunks)
    await asyncio.sleep(0.02)
    assert len(client.chunks) == sent


async def test_without_heartbeats_a_silent_stream_is_silent() -> None:
    client = Client()

    async def content() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await asyncio.sleep(0.02)

    await EventStream(content(), media_type="text/plain").stream_response(client.send)
    assert client.chunks == [b"data: 1\n\n", b""]


async def test_a_client_that_left_ends_the_heartbeat_quietly() -> None:
    left = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await left.wait()

    async def send(message: Any) -> None:
        if message.get("body") == HEARTBEAT:
            left.set()
            raise OSError("the client has left")

    await EventStream(content(), media_type="text/event-stream", heartbeat=0.001).stream_response(send)
    assert left.is_set()


def turn_of(*events: Event) -> Turn:
    turn = Turn("r1", "alice")
    for event in events:
        turn.emit(event)
    return turn


async def sent(turn: Turn, events: JSONEvents | TextEvents) -> str:
    return b"".join([chunk async for chunk in encoded(turn, events)]).decode()


async def test_a_fault_of_ours_in_mid_stream_is_the_last_event(caplog: pytest.LogCaptureFixture) -> None:
    unreadable: Any = {"when": datetime(2030, 1, 2, tzinfo=UTC)}
    turn = turn_of(STARTED)
    chunks = encoded(turn, JSONEvents())
    assert b'"start"' in await anext(chunks)
    turn.emit(ToolCall("c1", "fly", unreadable, "function_call"))
    with caplog.at_level(logging.ERROR, "lightspeed"):
        rest = [chunk async for chunk in chunks]
    assert rest == [
        b'data: {"event": "error", "data": {"status_code": 500, "response": "Internal server error", '
        b'"cause": "An unexpected error occurred while processing the request."}}\n\n'
    ]
    (record,) = caplog.records
    assert record.exc_info is not None


async def test_events_that_have_come_together_go_out_together() -> None:
    turn = turn_of(STARTED, Token("Two"), Token(" nod\u00e9s \ud83d"), COMPLETED)
    (chunk,) = [chunk async for chunk in encoded(turn, JSONEvents())]
    assert [line[:25] for line in chunk.decode("ascii").split("\n\n")] == [
        'data: {"event": "start", ',
        'data: {"event": "token", ',
        'data: {"event": "token", ',
        'data: {"event": "token", ',
        'data: {"event": "turn_com',
        'data: {"event": "end", "d',
        "",
    ]
    assert '"token": " nod\\u00e9s \\ud83d"' in chunk.decode()


DOCUMENTS = (
    ReferencedDocument("https://example.com/a", "A", "docs", "d1"),
    ReferencedDocument(None, None, "docs", "d2"),
    ReferencedDocument("https://example.com/c", None, "docs", None),
    ReferencedDocument(None, "In two\nlines", "docs", None),
)


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([Token("Two"), Token(" nodes."), COMPLETED], "Two nodes."),
        (
            [
                Token("I look."),
                ToolCall("c", "list_nodes", {}, "mcp_call"),
                ToolResult("c", "success", "n1", "mcp_call", 1),
                Token("n1"),
                COMPLETED,
            ],
            "I look.\n[Tool Call: list_nodes]\n[Tool Result]\nn1",
        ),
        (
            [ToolCall("c", "list_nodes", {}, "mcp_call"), Token("n1\n"), Failed(ProviderUnavailable("gone"))],
            "[Tool Call: list_nodes]\nn1\nStatus: 503 - Unable to connect to Llama Stack - gone",
        ),
        (
            [Token("Two"), Failed(ProviderUnavailable("gone"))],
            "Two\nStatus: 503 - Unable to connect to Llama Stack - gone",
        ),
        ([Token("Two"), Interrupted("r1", "Two", Usage())], "Two\n[Interrupted]"),
        (
            [Token("Two"), Completed("Two", Usage(), (), DOCUMENTS, False, COMPLETED.completed_at)],
            "Two\n\n---\n\nA: https://example.com/a\nd2: d2\n"
            "https://example.com/c: https://example.com/c\nIn two lines: In two lines",
        ),
        ([Token("half \ud83d"), COMPLETED], "half ?"),
    ],
)
async def test_plain_text_is_only_text(events: list[Event], text: str) -> None:
    assert await sent(turn_of(STARTED, *events), TextEvents()) == text
