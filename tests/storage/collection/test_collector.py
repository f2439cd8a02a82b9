"""The whole way: files here, archives at a real server."""

import asyncio
import logging
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from lightspeed.errors import StartupError
from lightspeed.storage.collection import source_files
from lightspeed.storage.collection.collector import Collector
from lightspeed.storage.collection.kind import KindCollection
from lightspeed.storage.collection.lock import locked
from tests.storage.collection.ingress import IngressServer, Reply, Upload
from tests.storage.collection.settings import TOKEN, settings

pytestmark = pytest.mark.anyio

USER = "f" * 64
CONVERSATION = "0d9bd6e4-9b1c-4b0e-8f0e-0123456789ab"
TRANSCRIPT = f"{USER}/{CONVERSATION}/4c6f2a0e-6d0b-4ad9-a1b9-0123456789ab.json"

type MakeCollector = Callable[..., Collector]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "collector"


@pytest.fixture
def collector_at(data: Path, directory: Path) -> MakeCollector:
    def make(
        url: str, *, pauses: tuple[float, ...] = (), most_bytes: int = 2**20, **changes: Any
    ) -> Collector:
        roots = {"feedback": data / "feedback", "transcripts": data / "transcripts"}
        return Collector(settings(url, **changes), roots, directory, pauses=pauses, most_bytes=most_bytes)

    return make


def write(root: Path, *names: str) -> dict[str, bytes]:
    """Files with a content each; returns them under the names that they have in an archive."""
    contents = {name: f'{{"name": "{name}"}}'.encode() * 20 for name in names}
    for name, content in contents.items():
        replace(root / name, content)
    return contents


def replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".partial").write_bytes(content)
    path.with_suffix(".partial").rename(path)


def left(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or path.is_file()}


def own_files(directory: Path) -> dict[str, os.stat_result]:
    return {path.name: path.stat() for path in directory.iterdir()}


def folders(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()}


async def test_all_files_arrive_and_are_removed(
    server: IngressServer, data: Path, directory: Path, collector_at: MakeCollector
) -> None:
    written = write(data, "feedback/b.json", "feedback/a.json", f"transcripts/{TRANSCRIPT}")
    report = await collector_at(server.url).collect_once()
    first, second = server.uploads
    assert first.files() | second.files() == written
    assert list(first.files()) == ["feedback/a.json", "feedback/b.json"]
    assert list(second.files()) == [f"transcripts/{TRANSCRIPT}"]
    for upload, kind in ((first, "feedback"), (second, "transcripts")):
        assert upload.headers["authorization"] == f"Bearer {TOKEN}"
        assert upload.headers["user-agent"].startswith("lightspeed/")
        assert upload.part_type == "application/vnd.redhat.lightspeed.periodic+tar"
        assert re.fullmatch(rf"lightspeed-{kind}-\d{{8}}T\d{{6}}Z-[0-9a-f]{{16}}\.tar\.gz", upload.name)
        assert "transfer-encoding" not in upload.headers
    assert (report.files, report.archives, report.failures) == (3, 2, [])
    assert report.size == sum(map(len, written.values()))
    assert left(data) == set()
    assert folders(data) == {"feedback", "transcripts"}
    assert set(own_files(directory)) == {"pass.lock"}


async def test_nothing_to_send(server: IngressServer, collector_at: MakeCollector) -> None:
    report = await collector_at(server.url).collect_once()
    assert str(report) == "nothing to send"
    assert server.uploads == []


async def test_only_json_files_are_touched(
    server: IngressServer, data: Path, tmp_path: Path, collector_at: MakeCollector
) -> None:
    write(tmp_path, "outside/secret.json")
    written = write(data, "feedback/one.json", "feedback/.two.json.00.partial", "feedback/three.txt")
    (data / "feedback" / "link.json").symlink_to(tmp_path / "outside" / "secret.json")
    (data / "feedback" / "folder").symlink_to(tmp_path / "outside")
    (data / "feedback" / "directory.json").mkdir()
    await collector_at(server.url).collect_once()
    [upload] = server.uploads
    assert upload.files() == {"feedback/one.json": written["feedback/one.json"]}
    assert left(data) == {
        "feedback/.two.json.00.partial",
        "feedback/three.txt",
        "feedback/link.json",
        "feedback/folder",
    }
    assert (tmp_path / "outside" / "secret.json").exists()


async def test_archives_are_bounded(server: IngressServer, data: Path, collector_at: MakeCollector) -> None:
    small = write(data, *(f"feedback/{number:02}.json" for number in range(20)))
    (data / "feedback" / "10-large.json").write_bytes(b"x" * 50_000)
    report = await collector_at(server.url, most_bytes=10_000).collect_once()
    received = [upload.files() for upload in server.uploads]
    assert len(received) == report.archives > 4
    assert ["feedback/10-large.json"] in [list(files) for files in received]
    assert all(sum(map(len, files.values())) <= 10_000 or len(files) == 1 for files in received)
    names = [name for files in received for name in files]
    assert sorted(names) == sorted([*small, "feedback/10-large.json"])


async def test_a_server_that_is_away_for_a_moment(
    server: IngressServer, data: Path, collector_at: MakeCollector
) -> None:
    server.replies.extend([Reply(503), Reply(429), Reply(408)])
    write(data, "feedback/a.json")
    report = await collector_at(server.url, pauses=(0, 0, 0)).collect_once()
    assert [upload.status for upload in server.uploads] == [503, 429, 408, 202]
    assert len({(upload.name, upload.archive) for upload in server.uploads}) == 1
    assert (report.archives, report.failures) == (1, [])
    assert left(data) == set()


async def test_what_fails_stays_and_is_sent_by_the_next_pass(
    server: IngressServer, data: Path, directory: Path, collector_at: MakeCollector
) -> None:
    write(data, "feedback/a.json", "feedback/b.json", "transcripts/u/c/t.json")
    before = own_files(data / "feedback")
    server.replies.extend([Reply(500)] * 2)
    collector = collector_at(server.url, pauses=(0,))
    report = await collector.collect_once()
    assert report.failures == ["feedback: 2 files are not sent: 127.0.0.1 answered 500 Internal Server Error"]
    assert left(data) == {"feedback/a.json", "feedback/b.json"}
    for name, status in own_files(data / "feedback").items():
        assert (status.st_ino, status.st_mtime_ns) == (before[name].st_ino, before[name].st_mtime_ns)
    write(data, "feedback/c.json")
    report = await collector.collect_once()
    assert (report.files, report.failures) == (3, [])
    # The same archive again, so that the server can tell, and the new file in one of its own.
    tried, again, _, old, new = server.uploads
    assert (tried.name, tried.archive) == (again.name, again.archive) == (old.name, old.archive)
    assert list(new.files()) == ["feedback/c.json"]
    assert left(data) == set()
    assert set(own_files(directory)) == {"pass.lock"}


@pytest.mark.parametrize(("status", "requests"), [(401, 1), (403, 1), (404, 1), (302, 1), (413, 3), (422, 3)])
async def test_a_server_that_refuses_is_not_asked_again(
    server: IngressServer, data: Path, collector_at: MakeCollector, status: int, requests: int
) -> None:
    server.default = Reply(status, {"Location": f"{server.url}?elsewhere"} if status == 302 else {})
    write(data, *(f"feedback/{number}.json" for number in range(8)))
    collector = collector_at(server.url, most_bytes=3_000, pauses=(0, 0))
    for number in (1, 2):
        report = await collector.collect_once()
        assert len(server.uploads) == number * requests
        assert len(report.failures) == requests
        assert str(status) in report.failures[0]
    assert len({upload.name for upload in server.uploads}) == requests
    assert len(left(data)) == 8
    server.default = Reply(200)
    assert (await collector.collect_once()).files == 8
    assert left(data) == set()


async def test_an_archive_that_is_refused_does_not_stop_the_others(
    server: IngressServer, data: Path, collector_at: MakeCollector
) -> None:
    write(data, *(f"feedback/{number}.json" for number in range(5)))
    server.replies.append(Reply(400))
    collector = collector_at(server.url, most_bytes=3_000)
    report = await collector.collect_once()
    assert (report.archives, len(report.failures)) == (4, 1)
    assert left(data) == {"feedback/0.json"}
    write(data, "feedback/new.json")
    server.replies.append(Reply(400))
    report = await collector.collect_once()
    assert (report.archives, len(report.failures)) == (1, 1)
    assert left(data) == {"feedback/0.json"}
    refused, again = (upload for upload in server.uploads if upload.status == 400)
    assert refused.name == again.name
    assert list(refused.files()) == ["feedback/0.json"]
    assert list(server.uploads[-1].files()) == ["feedback/new.json"]


async def test_a_server_that_is_not_there(data: Path, collector_at: MakeCollector) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    write(data, "feedback/a.json", "transcripts/u/c/t.json")
    report = await collector_at(f"http://127.0.0.1:{port}/", pauses=(0, 0)).collect_once()
    assert [failure.split(":")[0] for failure in report.failures] == ["feedback", "transcripts"]
    assert "127.0.0.1 cannot be reached" in report.failures[0]
    assert left(data) == {"feedback/a.json", "transcripts/u/c/t.json"}


async def test_without_cleanup_nothing_is_sent_twice(
    server: IngressServer, data: Path, directory: Path, collector_at: MakeCollector
) -> None:
    written = write(data, "feedback/a.json", "transcripts/u/c/t.json")
    for _ in range(3):
        await collector_at(server.url, cleanup_after_send=False).collect_once()
    assert len(server.uploads) == 2
    assert left(data) == set(written)
    (data / "feedback" / "a.json").write_bytes(b"another content")
    await collector_at(server.url, cleanup_after_send=False).collect_once()
    assert server.uploads[2:][0].files() == {"feedback/a.json": b"another content"}
    assert all(not name.endswith(".json") for name in own_files(directory))
    assert all(status.st_mode & 0o077 == 0 for status in own_files(directory).values())


async def test_cleanup_that_is_switched_on_removes_what_was_sent(
    server: IngressServer, data: Path, collector_at: MakeCollector
) -> None:
    write(data, "feedback/a.json", "transcripts/u/c/t.json")
    await collector_at(server.url, cleanup_after_send=False).collect_once()
    write(data, "feedback/new.json")
    report = await collector_at(server.url).collect_once()
    assert len(server.uploads) == 3
    assert list(server.uploads[2].files()) == ["feedback/new.json"]
    assert report.files == 1
    assert left(data) == set()
    assert folders(data) == {"feedback", "transcripts"}


@pytest.mark.parametrize("in_the_way", ["nothing", "a directory", "a file"])
@pytest.mark.parametrize("cleanup", [True, False])
async def test_a_directory_that_is_away_for_a_while(
    server: IngressServer, data: Path, collector_at: MakeCollector, in_the_way: str, cleanup: bool
) -> None:
    written = write(data, *(f"feedback/{number}.json" for number in range(4)))
    await collector_at(server.url, cleanup_after_send=False).collect_once()
    (data / "feedback").rename(data / "away")
    if in_the_way == "a directory":
        (data / "feedback").mkdir()
    elif in_the_way == "a file":
        replace(data / "feedback", b"")
    report = await collector_at(server.url, cleanup_after_send=cleanup).collect_once()
    told = ["feedback: 1 files or directories cannot be looked at"]
    assert report.failures == (told if in_the_way == "a file" else [])
    if in_the_way == "a file":
        (data / "feedback").unlink()
    (data / "away").rename(data / "feedback")
    await collector_at(server.url, cleanup_after_send=cleanup).collect_once()
    assert len(server.uploads) == 1
    assert left(data) == (set() if cleanup else set(written))


async def test_the_memory_of_what_was_sent_shrinks_with_the_files(
    server: IngressServer, data: Path, directory: Path, collector_at: MakeCollector
) -> None:
    write(data, *(f"feedback/{number}.json" for number in range(100)))
    collector = collector_at(server.url, cleanup_after_send=False)
    await collector.collect_once()
    for number in range(99):
        (data / "feedback" / f"{number}.json").unlink()
    await collector.collect_once()
    assert sum(status.st_size for status in own_files(directory).values()) == 16
    await collector.collect_once()
    assert len(server.uploads) == 1


async def test_what_is_written_during_a_send_is_kept(
    server: IngressServer, data: Path, collector_at: MakeCollector
) -> None:
    written = write(data, "feedback/changed.json", "feedback/same.json", "feedback/gone.json")
    changed = b'{"changed": true}'

    def meanwhile(_: Upload) -> None:
        replace(data / "feedback" / "changed.json", changed)
        replace(data / "feedback" / "added.json", b"{}")
        (data / "feedback" / "gone.json").unlink(missing_ok=True)

    server.on_upload = meanwhile
    collector = collector_at(server.url)
    assert (await collector.collect_once()).failures == []
    assert server.uploads[0].files() == written
    assert left(data) == {"feedback/changed.json", "feedback/added.json"}
    server.on_upload = lambda _: None
    await collector.collect_once()
    assert server.uploads[1].files() == {"feedback/added.json": b"{}", "feedback/changed.json": changed}
    assert left(data) == set()


async def test_directories_that_vanish_are_no_error(
    server: IngressServer, data: Path, collector_at: MakeCollector
) -> None:
    write(data, "transcripts/u/c/one.json", "transcripts/u/d/two.json", "transcripts/v/e/three.json")

    def erase(_: Upload) -> None:
        for path in (data / "transcripts" / "v").rglob("*.json"):
            path.unlink()
        for path in sorted((data / "transcripts" / "v").rglob("*"), reverse=True):
            path.rmdir()

    server.on_upload = erase
    report = await collector_at(server.url, most_bytes=3_000).collect_once()
    assert report.failures == []
    assert [name for upload in server.uploads for name in upload.files()] == [
        "transcripts/u/c/one.json",
        "transcripts/u/d/two.json",
    ]
    assert [path.name for path in (data / "transcripts").iterdir()] == ["v"]


async def test_what_has_been_erased_is_not_sent_any_more(
    server: IngressServer, data: Path, collector_at: MakeCollector
) -> None:
    write(data, "feedback/erased.json", "feedback/kept.json")
    server.replies.append(Reply(500))
    collector = collector_at(server.url)
    await collector.collect_once()
    (data / "feedback" / "erased.json").unlink()
    await collector.collect_once()
    first, second = server.uploads
    assert list(second.files()) == ["feedback/kept.json"]
    assert first.name != second.name
    assert left(data) == set()


@pytest.mark.parametrize("cleanup", [True, False])
async def test_a_confirmed_batch_is_not_sent_again(
    server: IngressServer,
    data: Path,
    directory: Path,
    collector_at: MakeCollector,
    monkeypatch: pytest.MonkeyPatch,
    cleanup: bool,
) -> None:
    """After an end between the answer and what follows it."""
    written = write(data, "feedback/a.json", "feedback/b.json")

    async def end(*_: object) -> None:
        raise KeyError("the end")

    with monkeypatch.context() as patch:
        patch.setattr(KindCollection, "_finish", end)
        await collector_at(server.url, cleanup_after_send=cleanup).collect_once()
    assert left(data) == set(written)
    (data / "feedback" / "a.json").unlink()
    for _ in range(2):
        report = await collector_at(server.url, cleanup_after_send=cleanup).collect_once()
        assert str(report) == "nothing to send"
    assert len(server.uploads) == 1
    assert left(data) == (set() if cleanup else {"feedback/b.json"})
    assert not [name for name in own_files(directory) if name.endswith(".batch")]


async def test_files_that_cannot_be_removed_are_not_sent_again(
    server: IngressServer, data: Path, collector_at: MakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(data, "feedback/a.json")

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    # As for a file that is immutable; all others can be removed by root, who may run this.
    monkeypatch.setattr(source_files, "_remove_if_unchanged", refuse)
    collector = collector_at(server.url)
    for _ in range(2):
        report = await collector.collect_once()
        assert report.failures == ["feedback: 1 files are sent, but cannot be removed"]
    assert len(server.uploads) == 1
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "*")
    assert (await collector.collect_once()).failures == []
    assert left(data) == set()


async def test_one_directory_within_the_other(server: IngressServer, data: Path, directory: Path) -> None:
    write(data, "a.json", "transcripts/u/c/t.json")
    roots = {"feedback": data, "transcripts": data / "transcripts"}
    await Collector(settings(server.url), roots, directory).collect_once()
    assert [list(upload.files()) for upload in server.uploads] == [
        ["feedback/a.json"],
        ["transcripts/u/c/t.json"],
    ]
    assert (data / "transcripts").is_dir()


async def test_two_kinds_in_one_directory_are_refused(
    server: IngressServer, data: Path, directory: Path
) -> None:
    write(data, "a.json")
    report = await Collector(
        settings(server.url), {"feedback": data, "transcripts": data}, directory
    ).collect_once()
    assert len(report.failures) == 2
    assert server.uploads == []


async def test_no_secret_is_told(
    server: IngressServer, data: Path, collector_at: MakeCollector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    write(data, "feedback/a.json", "transcripts/u/c/t.json")
    server.replies.extend([Reply(503), Reply(401), Reply(302, {"Location": server.url})])
    url = server.url.replace("://", "://name:hidden-password@")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        nowhere = url.replace(str(server.port), str(unused.getsockname()[1]))
    told = [
        str(await collector_at(address, pauses=(0,)).collect_once())
        for address in (url, url, nowhere, server.url)
    ]
    assert len(server.uploads) > 3
    text = caplog.text + "\n".join(told)
    assert "is sent again" in text
    assert "hidden-password" not in text
    assert TOKEN not in text
    assert all(upload.headers["authorization"] == f"Bearer {TOKEN}" for upload in server.uploads)


async def test_one_collector_at_a_time(
    server: IngressServer, data: Path, directory: Path, collector_at: MakeCollector
) -> None:
    write(data, "feedback/a.json")
    async with locked(directory / "pass.lock") as alone:
        assert alone
        with pytest.raises(StartupError, match="another data collector is at work"):
            await collector_at(server.url).collect_once()
    async with locked(directory / "loop.lock"):
        with pytest.raises(StartupError, match="another data collector is at work"):
            await collector_at(server.url).repeat(lambda _: None)
    assert server.uploads == []


async def test_of_several_loops_one_works_until_another_takes_over(
    server: IngressServer, data: Path, collector_at: MakeCollector
) -> None:
    arrived = asyncio.Queue[set[str]]()
    loop = asyncio.get_running_loop()
    server.on_upload = lambda upload: loop.call_soon_threadsafe(arrived.put_nowait, set(upload.files()))
    write(data, "feedback/a.json")
    first = asyncio.create_task(collector_at(server.url, collection_interval=1000).run())
    with anyio.fail_after(20):
        assert await arrived.get() == {"feedback/a.json"}
        second = asyncio.create_task(collector_at(server.url, collection_interval=1).run())
        await anyio.sleep(0.2)
        write(data, "feedback/b.json")
        await anyio.sleep(0.2)
        assert arrived.empty()
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        assert await arrived.get() == {"feedback/b.json"}
    second.cancel()
    await asyncio.wait([second])


async def test_a_pass_that_fails_does_not_end_the_loop(
    server: IngressServer, data: Path, directory: Path, collector_at: MakeCollector
) -> None:
    replace(directory, b"in the way")
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()
    server.on_upload = lambda _: loop.call_soon_threadsafe(arrived.set)
    write(data, "feedback/a.json")
    task = asyncio.create_task(collector_at(server.url, collection_interval=1).run())
    await anyio.sleep(0.2)
    assert not task.done()
    await anyio.Path(directory).unlink()
    with anyio.fail_after(20):
        await arrived.wait()
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("after", range(4))
async def test_a_pass_that_is_cancelled_loses_nothing(
    server: IngressServer, data: Path, collector_at: MakeCollector, after: int
) -> None:
    written = write(data, *(f"feedback/{number}.json" for number in range(8)))
    loop = asyncio.get_running_loop()
    collector = collector_at(server.url, most_bytes=3_000)
    task = asyncio.create_task(collector.collect_once())

    def cancel(_: Upload) -> None:
        if len(server.uploads) == after:
            loop.call_soon_threadsafe(task.cancel)

    server.on_upload = cancel
    await asyncio.wait([task])
    server.on_upload = lambda _: None
    confirmed = {name for upload in server.confirmed for name in upload.files()}
    assert set(written) - left(data) <= confirmed
    assert (await collector.collect_once()).failures == []
    assert {name for upload in server.uploads for name in upload.files()} == set(written)
    assert len({upload.name for upload in server.uploads}) == 8
    assert left(data) == set()
