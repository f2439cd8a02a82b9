"""What it costs to keep conversations: ours beside the bare statements on the same database."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from uuid import uuid4

import asyncpg
from sqlalchemy import insert

from lightspeed.storage import schema
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.encoding import json_text
from lightspeed.storage.identifiers import new_conversation_id
from lightspeed.storage.records import TurnRecord
from tests.postgresql import Postgresql, postgresql_server
from tests.storage.turns import a_turn

_CONVERSATIONS = 100_000
_PAGE = 50
_WARM_UP = 20
_LONG_TEXT = "A node is a machine of the cluster that runs containers. " * 40


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians in milliseconds; `floor` is the same work by bare statements of the driver."""

    name: str
    ours: float
    floor: float


def timings(folder: Path, times: int) -> Iterator[Timing]:
    """Recording a turn, and listing 50 of 100,000 conversations, on SQLite and on PostgreSQL."""
    yield from asyncio.run(_on_sqlite(folder / "lightspeed.db", folder / "bare.db", times))
    with postgresql_server() as server:
        yield from asyncio.run(_on_postgresql(server, times))


async def _on_sqlite(path: Path, bare: Path, times: int) -> list[Timing]:
    database = Database.at(path)
    await database.open()
    with closing(sqlite3.connect(bare, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE turns (id TEXT PRIMARY KEY, content TEXT)")

        async def write(row: tuple[str, str]) -> None:
            connection.execute("INSERT INTO turns VALUES (?, ?)", row)

        recording = await _recording("SQLite", Conversations(database), write, times)
    await _fill(database)
    with closing(sqlite3.connect(path)) as connection:

        async def read() -> None:
            connection.execute(_BARE_LIST, ("alice", _PAGE)).fetchall()

        listing = await _listing("SQLite", Conversations(database), read, times)
    await database.close()
    return [recording, listing]


async def _on_postgresql(server: Postgresql, times: int) -> list[Timing]:
    name = server.new_database()
    database = Database(server.url(name))
    await database.open()
    connection = await asyncpg.connect(
        host="127.0.0.1", port=server.port, user=server.user, password=server.password, database=name
    )
    await connection.execute("CREATE TABLE bare (id TEXT PRIMARY KEY, content TEXT)")

    async def write(row: tuple[str, str]) -> None:
        await connection.execute("INSERT INTO bare VALUES ($1, $2)", *row)

    async def read() -> None:
        await connection.fetch(_BARE_LIST.replace("?", "$1", 1).replace("?", "$2", 1), "alice", _PAGE)

    recording = await _recording("PostgreSQL", Conversations(database), write, times)
    await _fill(database)
    listing = await _listing("PostgreSQL", Conversations(database), read, times)
    await connection.close()
    await database.close()
    return [recording, listing]


_BARE_LIST = (
    "SELECT id, topic_summary, last_message_at FROM lightspeed_conversations WHERE user_id = ? "
    "ORDER BY last_message_at DESC, id DESC LIMIT ?"
)


async def _recording(
    kind: str, conversations: Conversations, bare: Callable[[tuple[str, str]], Awaitable[None]], times: int
) -> Timing:
    async def ours() -> None:
        await conversations.record(_turn(), begins=True)

    async def floor() -> None:
        await bare((str(uuid4()), content))

    content = json_text(_turn())
    name = f"record a turn of {len(content) / 1000:.0f} KB, {kind}"
    return Timing(name, *await _in_turns(ours, floor, times))


async def _listing(
    kind: str, conversations: Conversations, bare: Callable[[], Awaitable[None]], times: int
) -> Timing:
    async def ours() -> None:
        assert len(await conversations.newest("alice", limit=_PAGE)) == _PAGE

    name = f"list {_PAGE} of {_CONVERSATIONS:,} conversations, {kind}"
    return Timing(name, *await _in_turns(ours, bare, times))


async def _in_turns(
    ours: Callable[[], Awaitable[None]], floor: Callable[[], Awaitable[None]], times: int
) -> tuple[float, float]:
    """Medians of both in milliseconds, taken by turns so that noise meets both."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(_WARM_UP + times):
        for work, seconds in zip((ours, floor), taken, strict=True):
            started = time.perf_counter()
            await work()
            if number >= _WARM_UP:
                seconds.append(time.perf_counter() - started)
    return 1000 * median(taken[0]), 1000 * median(taken[1])


def _turn() -> TurnRecord:
    passage = {"content": _LONG_TEXT, "source": "docs", "score": 0.5, "attributes": {"title": "Nodes"}}
    turn = a_turn(answer=_LONG_TEXT, rag_chunks=[passage] * 3, request_id=str(uuid4()))
    return replace(turn, conversation_id=new_conversation_id())


async def _fill(database: Database) -> None:
    first = a_turn()
    rows = [
        {
            "id": new_conversation_id(),
            "user_id": "alice",
            "created_at": first.started_at,
            "last_message_at": first.completed_at + timedelta(seconds=number),
            "message_count": 1,
            "last_provider": "acme",
            "last_model": "m1",
            "topic_summary": f"Topic {number}",
            "topic_input_tokens": 0,
            "topic_output_tokens": 0,
        }
        for number in range(_CONVERSATIONS)
    ]
    for start in range(0, len(rows), 2000):
        part = rows[start : start + 2000]
        await database.write(
            lambda connection, part=part: connection.execute(insert(schema.conversations), part) and None
        )
