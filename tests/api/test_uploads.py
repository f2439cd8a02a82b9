"""Uploads are taken apart while they arrive, and refused before they have filled the disk."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from anyio import to_thread
from pydantic import BaseModel

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.uploads import MAX_OVERHEAD, MAX_UPLOAD, safe_name, uploaded
from lightspeed.identity.actions import Action
from tests.api.declared_api import application, client
from tests.limited_files import largest_file

pytestmark = pytest.mark.anyio

BOUNDARY = "the-boundary"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
TOO_LARGE = "exceeds maximum allowed size of 104857600 bytes (100 MB)"


class Received(BaseModel):
    filename: str
    size: int
    beginning: str
    end: str


async def receive(call: Call) -> Received:
    async with uploaded(call.request) as upload:
        content = await to_thread.run_sync(upload.file.read)
        assert len(content) == upload.size
        return Received(
            filename=upload.filename,
            size=upload.size,
            beginning=content[:100].decode(errors="replace"),
            end=content[-100:].decode(errors="replace"),
        )


APP = application(
    [
        Endpoint(
            "POST",
            "/v1/files",
            receive,
            action=Action.MANAGE_FILES,
            tags=(),
            summary="",
            response=Received,
            max_body=MAX_UPLOAD + MAX_OVERHEAD,
        )
    ]
)


def temporary_files() -> int:
    """How many files without a name this process has open."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += str(descriptor.readlink()).endswith(" (deleted)")
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = temporary_files()
    yield
    assert temporary_files() == before


def part(content: bytes, *parameters: str, name: str = "file") -> bytes:
    disposition = "; ".join(("form-data", f'name="{name}"', *parameters))
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\nContent-Type: text/plain\r\n\r\n"
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


async def post(body: Any, user: str | None = "alice", **headers: str) -> httpx.Response:
    async with client(APP, user) as http:
        return await http.post("/v1/files", content=body, headers=HEADERS | headers)


async def test_a_file_arrives_whole(tmp_path: Path) -> None:
    content = b"beginning" + os.urandom(3_000_000) + b"\r\n--the-boundar end"
    async with client(APP) as http:
        answer = await http.post(
            "/v1/files", files={"file": ("notes.md", content)}, data={"purpose": "assistants"}
        )
    assert answer.status_code == 200
    received = answer.json()
    assert (received["filename"], received["size"]) == ("notes.md", len(content))
    assert received["beginning"].startswith("beginning")
    assert received["end"].endswith("--the-boundar end")


@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_it_does_not_matter_how_a_body_is_cut(size: int) -> None:
    text = "line\r\n--the-bound\r\nline"
    body = part(b"x", name="purpose") + part(text.encode(), 'filename="a.txt"') + END

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    answer = await post(pieces())
    assert answer.json() == {
        "filename": "a.txt",
        "size": len(text),
        "beginning": text,
        "end": text,
    }


@pytest.mark.parametrize("parameters", [(), ('filename=""',)])
async def test_a_file_without_a_name_gets_one(parameters: tuple[str, ...]) -> None:
    assert (await post(part(b"text", *parameters) + END)).json()["filename"] == "uploaded_file.txt"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("manual.pdf", "manual.pdf"),
        ("README", "README.txt"),
        ("../../etc/passwd", "passwd.txt"),
        ("C:\\Users\\anna\\notes.md", "notes.md"),
        ("/", "uploaded_file.txt"),
        ("..", "uploaded_file.txt"),
        (".bashrc", "bashrc.txt"),
        (" a \t b\r\n.txt ", "a b .txt"),
        ("a\x00b\x1b[31m\u202etxt.exe", "ab[31mtxt.exe"),
        ("Übersicht 日本.md", "Übersicht 日本.md"),
        ("trailing.", "trailing.txt"),
        ("", "uploaded_file.txt"),
    ],
)
def test_names_are_harmless(given: str, kept: str) -> None:
    assert safe_name(given) == kept


@pytest.mark.parametrize("given", ["x" * 1000 + ".pdf", "日" * 1000 + ".pdf", "a." + "b" * 1000, "é" * 1000])
def test_names_are_as_short_as_file_systems_need(given: str) -> None:
    kept = safe_name(given)
    assert len(kept.encode()) <= 255
    assert kept.startswith(given[0])
    assert given[-4:] != ".pdf" or kept.endswith(".pdf")


async def test_a_name_may_be_in_any_language() -> None:
    body = part(b"text", 'filename="Übersicht.txt"') + END
    assert (await post(body)).json()["filename"] == "Übersicht.txt"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (part(b"text", 'filename="a.txt"', name="document") + END, {}),
        (END, {}),
        (b"", {"Content-Type": "application/json"}),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}),
    ],
)
async def test_a_form_without_the_file_is_refused(body: bytes, headers: dict[str, str]) -> None:
    answer = await post(body, **headers)
    assert answer.status_code == 422
    assert answer.json()["detail"] == [
        {"type": "missing", "loc": ["body", "file"], "msg": "Field required", "input": None}
    ]


@pytest.mark.parametrize(
    ("body", "headers", "told"),
    [
        (part(b"text", 'filename="a.txt"'), {}, "ends before its last boundary"),
        (b"", {}, "ends before its last boundary"),
        (b"nonsense", {}, "cannot be read"),
        (b"", {"Content-Type": "multipart/form-data"}, "names no boundary"),
        (b"", {"Content-Type": f"multipart/form-data; boundary={'x' * 5000}"}, "cannot be read"),
        (part(b"x", name="purpose") * 200 + part(b"text") + END, {}, "more than 100 parts"),
        (part(b"text") * 2 + END, {}, "more than one field `file`"),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused(body: bytes, headers: dict[str, str], told: str) -> None:
    answer = await post(body, **headers)
    assert answer.status_code == 400
    assert answer.json()["detail"]["response"] == "Invalid file upload"
    assert told in answer.json()["detail"]["cause"]


class Counted:
    """A body of many megabytes; `sent` tells how much of it was asked for."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        block = b"x" * 1024 * 1024
        yield part(b"", 'filename="big.bin"')[:-2]
        while self.sent < self.size:
            self.sent += len(block)
            yield block[: self.size + len(block) - self.sent]
        yield b"\r\n" + END


async def test_a_file_that_is_announced_as_too_large_is_not_read() -> None:
    body = Counted(101 * 1024**2 + MAX_OVERHEAD)
    answer = await post(body, **{"Content-Length": str(body.size)})
    assert answer.status_code == 413
    assert answer.json()["detail"] == {
        "response": "File too large",
        "cause": f"File size {body.size} bytes {TOO_LARGE}",
    }
    assert body.sent == 0


async def test_a_file_that_becomes_too_large_is_read_up_to_the_limit() -> None:
    body = Counted(300 * 1024**2)
    answer = await post(body)
    assert answer.status_code == 413
    assert answer.json()["detail"]["response"] == "File too large"
    assert TOO_LARGE in answer.json()["detail"]["cause"]
    assert body.sent <= MAX_UPLOAD + 1024**2


async def test_a_file_of_just_the_limit_is_taken() -> None:
    answer = await post(Counted(MAX_UPLOAD))
    assert (answer.status_code, answer.json()["size"]) == (200, MAX_UPLOAD)


@pytest.mark.parametrize("size", [3_000, 3_000_000])
async def test_a_full_disk_is_told(size: int) -> None:
    with largest_file(1_000):
        answer = await post(part(b"x" * size) + END)
    assert answer.status_code == 500
    assert answer.json()["detail"] == {
        "response": "File storage failed",
        "cause": "The folder for temporary files takes no upload: File too large",
    }


async def test_who_may_not_upload_is_refused_before_anything_is_read() -> None:
    for user, status in ((None, 401), ("guest", 403)):
        body = Counted(1024**2)
        assert (await post(body, user)).status_code == status
        assert body.sent == 0


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    """The application behind a real socket; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(APP, log_level="warning", lifespan="off"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


async def test_over_a_socket_the_refusal_arrives() -> None:
    async with (
        served() as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        headers = HEADERS | {"Authorization": "alice"}
        for announced in (True, False):
            body = Counted(MAX_UPLOAD + 2 * MAX_OVERHEAD)
            length = {"Content-Length": str(len(part(b"", 'filename="big.bin"')) + body.size + len(END))}
            answer = await http.post(
                "/v1/files", content=body, headers=headers | (length if announced else {})
            )
            assert answer.status_code == 413
            assert answer.json()["detail"]["response"] == "File too large"
        # The connection is still of use.
        answer = await http.post("/v1/files", content=part(b"text") + END, headers=headers)
        assert answer.status_code == 200


async def test_over_a_socket_a_client_that_waits_for_leave_to_send_is_told_at_once() -> None:
    async with served() as port:
        stream = await anyio.connect_tcp("127.0.0.1", port)
        async with stream:
            await stream.send(
                f"POST /v1/files HTTP/1.1\r\nHost: service\r\nAuthorization: alice\r\nContent-Length: {2**40}\r\n"
                f"Content-Type: {HEADERS['Content-Type']}\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            with anyio.fail_after(5):
                answer = await stream.receive()
        assert answer.startswith(b"HTTP/1.1 413 ")


async def test_over_a_socket_a_client_that_leaves_leaves_nothing() -> None:
    before = await to_thread.run_sync(temporary_files)
    async with served() as port:
        stream = await anyio.connect_tcp("127.0.0.1", port)
        await stream.send(
            f"POST /v1/files HTTP/1.1\r\nHost: service\r\nAuthorization: alice\r\nContent-Length: 9000000\r\n"
            f"Content-Type: {HEADERS['Content-Type']}\r\n\r\n".encode()
            + part(b"x" * 3_000_000, 'filename="big.bin"')
        )
        with anyio.fail_after(10):
            await become(lambda: temporary_files() > before)
            await stream.aclose()
            await become(lambda: temporary_files() == before)


async def become(true: Callable[[], bool]) -> None:
    while not await to_thread.run_sync(true):  # noqa: ASYNC110
        await anyio.sleep(0.01)
