import base64
import logging
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from lightspeed.storage.collection.archive import Archive
from lightspeed.storage.collection.ingress import Answer, Ingress
from lightspeed.storage.collection.source_files import SourceFile
from tests.storage.collection.ingress import IngressServer, Reply
from tests.storage.collection.settings import settings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    """One that has to be read in several pieces."""
    source = tmp_path / "data" / "a.json"
    source.parent.mkdir()
    source.write_bytes(bytes(range(256)) + os.urandom(600_000))
    file = SourceFile.of("a.json", source.stat())
    assert file is not None
    archive = Archive(tmp_path / "state")
    await anyio.to_thread.run_sync(archive.pack, source.parent, "feedback", [file])
    yield archive
    await anyio.to_thread.run_sync(archive.close)


async def send(archive: Archive, url: str, *pauses: float, **changes: Any) -> tuple[Answer, list[float]]:
    """The answer, and the pauses before further attempts."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with Ingress(settings(url, **changes), pauses=pauses, sleep=sleep) as ingress:
        return await ingress.send("a.tar.gz", archive), slept


async def test_an_archive_arrives_as_it_is(server: IngressServer, archive: Archive) -> None:
    answer, slept = await send(archive, server.url)
    assert (answer.confirmed, slept) == (True, [])
    [upload] = server.uploads
    assert upload.name == "a.tar.gz"
    assert upload.archive == await anyio.to_thread.run_sync(archive.read, 0, archive.size + 1)
    assert len(upload.archive) == archive.size > 600_000


async def test_pauses_grow(server: IngressServer, archive: Archive) -> None:
    server.default = Reply(503)
    answer, slept = await send(archive, server.url, 1, 2, 4, 8)
    assert len(server.uploads) == 5
    assert not answer.confirmed
    assert [round(seconds / pause) for seconds, pause in zip(slept, (1, 2, 4, 8), strict=True)] == [1] * 4
    assert len({seconds / pause for seconds, pause in zip(slept, (1, 2, 4, 8), strict=True)}) == 4


@pytest.mark.parametrize(
    ("value", "least"),
    [
        ("90", 90),
        ("in 100 seconds", 50),
        ("soon", 0),
        ("-5", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("9" * 5000, 0),
        ("", 0),
    ],
    ids=["seconds", "date", "word", "negative", "past", "huge", "empty"],
)
async def test_the_server_says_when_to_come_again(
    server: IngressServer, archive: Archive, value: str, least: float
) -> None:
    if value.startswith("in "):
        value = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    server.replies.append(Reply(429, {"Retry-After": value}))
    answer, [slept] = await send(archive, server.url, 0.1)
    assert answer.confirmed
    assert least <= slept <= max(least * 3, 0.2)


async def test_a_server_that_wants_a_long_pause_gets_it(server: IngressServer, archive: Archive) -> None:
    server.replies.append(Reply(503, {"Retry-After": "86400"}))
    answer, slept = await send(archive, server.url, 1, 2)
    assert (answer.confirmed, slept, len(server.uploads)) == (False, [], 1)


async def test_a_server_that_does_not_answer(server: IngressServer, archive: Archive) -> None:
    server.on_upload = lambda _: time.sleep(0 if server.uploads else 1.5)
    answer, slept = await send(archive, server.url, 1, connection_timeout=1)
    assert answer.confirmed
    assert len(slept) == 1
    assert len(server.uploads) == 2


async def test_why_an_archive_is_refused(server: IngressServer, archive: Archive) -> None:
    server.replies.extend([Reply(401), Reply(302, {"Location": "/elsewhere"}), Reply(499)])
    answers = [(await send(archive, server.url))[0] for _ in range(3)]
    assert [answer.reason for answer in answers] == [
        "127.0.0.1 answered 401 Unauthorized; check `ingress_server_auth_token`",
        "127.0.0.1 answered 302 Found, and redirects are not followed; check `ingress_server_url`",
        "127.0.0.1 answered 499",
    ]
    assert len(server.uploads) == 3


@pytest.mark.parametrize("user_info", ["", "name:p%40ss"])
async def test_without_a_token(
    server: IngressServer, archive: Archive, user_info: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = server.url.replace("://", f"://{user_info}@") if user_info else server.url
    await send(archive, url, ingress_server_auth_token=None)
    expected = f"Basic {base64.b64encode(b'name:p@ss').decode()}" if user_info else None
    assert server.uploads[0].headers.get("authorization") == expected
    assert "POST" in caplog.text
    assert "p%40ss" not in caplog.text
