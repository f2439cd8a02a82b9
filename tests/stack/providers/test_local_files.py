"""Uploaded files on the disk."""

import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import pytest

from lightspeed.errors import StartupError, StorageError
from tests.limited_files import largest_file
from tests.stack.providers.knowledge_provider import local_files, upload

pytestmark = pytest.mark.anyio

_REPOSITORY = Path(__file__).resolve().parents[3]


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "files").iterdir()}


async def content(files: Any, file_id: str) -> Any:
    from llama_stack_api import RetrieveFileContentRequest

    return await files.openai_retrieve_file_content(RetrieveFileContentRequest(file_id=file_id))


async def retrieve(files: Any, file_id: str) -> Any:
    from llama_stack_api import RetrieveFileRequest

    return await files.openai_retrieve_file(RetrieveFileRequest(file_id=file_id))


async def listed(files: Any, **request: Any) -> Any:
    from llama_stack_api import ListFilesRequest

    return await files.openai_list_files(ListFilesRequest(**request))


async def test_the_life_of_a_file(tmp_path: Path) -> None:
    from llama_stack_api import DeleteFileRequest, OpenAIFileObjectNotFoundError

    files = await local_files(tmp_path)
    file_id = await upload(files, 'Größe "x".md', b"\x00\xff text")
    stored = await retrieve(files, file_id)
    assert (stored.filename, stored.bytes, stored.purpose.value) == ('Größe "x".md', 7, "assistants")
    assert stored.created_at == pytest.approx(time.time(), abs=10)
    assert stored.expires_at is None
    answer = await content(files, file_id)
    assert bytes(answer.body) == b"\x00\xff text"
    assert (
        answer.headers["content-disposition"] == "attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%22x%22.md"
    )
    assert names(tmp_path) == {file_id, f"{file_id}.json"}
    # Another process, or the next start.
    assert await retrieve(await local_files(tmp_path), file_id) == stored

    deleted = await files.openai_delete_file(DeleteFileRequest(file_id=file_id))
    assert (deleted.id, deleted.deleted) == (file_id, True)
    assert names(tmp_path) == set()
    for call in (
        retrieve(files, file_id),
        content(files, file_id),
        files.openai_delete_file(DeleteFileRequest(file_id=file_id)),
    ):
        with pytest.raises(OpenAIFileObjectNotFoundError, match=file_id):
            await call


@pytest.mark.parametrize("file_id", ["", "file-0", "../secret", "file-" + "0" * 32, "file-\x00", "a" * 5000])
async def test_unknown_files(tmp_path: Path, file_id: str) -> None:
    from llama_stack_api import OpenAIFileObjectNotFoundError

    (tmp_path / "secret.json").write_text("{}")
    files = await local_files(tmp_path)
    with pytest.raises(OpenAIFileObjectNotFoundError):
        await retrieve(files, file_id)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\docs\\a b.txt", "a b.txt"),
        ("", "uploaded_file"),
        ("..", "uploaded_file"),
        ("line\nbreak\x00.txt", "linebreak.txt"),
        ("n" * 300 + ".txt", "n" * 251 + ".txt"),
    ],
)
async def test_names(tmp_path: Path, given: str, kept: str) -> None:
    files = await local_files(tmp_path)
    assert (await retrieve(files, await upload(files, given, "text"))).filename == kept


class Endless(BytesIO):
    """More than any limit, which nobody must read to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert 0 < size <= 1 << 20
        self.given += size
        assert self.given < 5 << 20
        return b"x" * size


async def test_the_limit_holds_while_the_file_is_read(tmp_path: Path) -> None:
    from llama_stack_api import UploadFileRequest
    from llama_stack_api.common.errors import FileTooLargeError
    from starlette.datastructures import UploadFile

    files = await local_files(tmp_path, max_bytes=2 << 20)
    request = UploadFileRequest(purpose="assistants")
    with pytest.raises(FileTooLargeError, match="exceeds the maximum"):
        await files.openai_upload_file(request, UploadFile(Endless(), filename="endless"))
    declared = UploadFile(Endless(), filename="endless", size=(2 << 20) + 1)
    with pytest.raises(FileTooLargeError, match="2097153 bytes"):
        await files.openai_upload_file(request, declared)
    assert names(tmp_path) == set()
    exact = await upload(files, "exact", b"x" * (2 << 20))
    assert (await retrieve(files, exact)).bytes == 2 << 20


async def test_a_cancelled_upload_leaves_nothing(tmp_path: Path) -> None:
    from llama_stack_api import UploadFileRequest

    class Slow:
        filename = "slow.txt"

        def __init__(self) -> None:
            self.asked = 0

        async def read(self, size: int) -> bytes:
            self.asked += 1
            if self.asked > 2:
                await anyio.sleep_forever()
            return b"part"

    files = await local_files(tmp_path)
    with anyio.move_on_after(0.2) as scope:
        await files.openai_upload_file(UploadFileRequest(purpose="batch"), Slow())  # type: ignore[arg-type]
    assert scope.cancelled_caught
    assert names(tmp_path) == set()


async def test_lists_in_parts(tmp_path: Path) -> None:
    files = await local_files(tmp_path)
    ids = [await upload(files, f"{number}.txt", "text") for number in range(5)]
    batch = await upload(files, "batch.jsonl", "{}", purpose="batch")
    everything = await listed(files)
    assert [file.id for file in everything.data] == [batch, *reversed(ids)]
    assert (everything.has_more, everything.first_id, everything.last_id) == (False, batch, ids[0])
    page = await listed(files, limit=2, order="asc", purpose="assistants")
    assert ([file.id for file in page.data], page.has_more) == (ids[:2], True)
    page = await listed(files, limit=3, order="asc", purpose="assistants", after=page.last_id)
    assert ([file.id for file in page.data], page.has_more) == (ids[2:], False)
    with pytest.raises(ValueError, match="no file nobody to list after"):
        await listed(files, after="nobody")
    with pytest.raises(ValueError, match="limit of a list of files"):
        await listed(files, limit=0)


async def test_expired_files_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_stack_api import OpenAIFileObjectNotFoundError

    files = await local_files(tmp_path)
    kept = await upload(files, "kept.txt", "text")
    after = {"anchor": "created_at", "seconds": 3600}
    file_id = await upload(files, "short.txt", "text", expires_after=after)
    stored = await retrieve(files, file_id)
    assert stored.expires_at == stored.created_at + 3600
    later = time.time_ns() + 3601 * 10**9
    monkeypatch.setattr("lightspeed.stack.providers.local_files.adapter.time.time_ns", lambda: later)
    assert [file.id for file in (await listed(files)).data] == [kept]
    with pytest.raises(OpenAIFileObjectNotFoundError):
        await retrieve(files, file_id)
    assert names(tmp_path) == {kept, f"{kept}.json"}


_KILLED = """
import os, signal, sys
from pathlib import Path
from lightspeed.stack.providers.local_files.folder import FileFolder
folder = FileFolder(Path(sys.argv[1]))
folder.open()
upload = folder.begin()
folder.write(upload, b"half")
if sys.argv[2] == "named":
    upload.name()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["begun", "named"])
async def test_what_a_killed_upload_has_left_is_removed(tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "files"
    command = [sys.executable, "-c", _KILLED, str(folder), moment]
    killed = await anyio.to_thread.run_sync(
        lambda: subprocess.run(command, cwd=_REPOSITORY, check=False, timeout=60)
    )
    assert killed.returncode == -9
    assert len(names(tmp_path)) == 1
    files = await local_files(tmp_path)
    assert names(tmp_path) == set()
    assert (await listed(files)).data == []


async def test_a_running_upload_is_left_alone(tmp_path: Path) -> None:
    from lightspeed.stack.providers.local_files.folder import FileFolder

    await local_files(tmp_path)
    folder = FileFolder(tmp_path / "files")

    def upload_in_part() -> Any:
        upload = folder.begin()
        folder.write(upload, b"half")
        upload.name()
        return upload

    running = await anyio.to_thread.run_sync(upload_in_part)
    other = await local_files(tmp_path)
    assert running.id in names(tmp_path)
    assert (await listed(other)).data == []
    await anyio.to_thread.run_sync(lambda: running.close(keep=False))


async def test_a_damaged_description_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = await local_files(tmp_path)
    file_id = await upload(files, "a.txt", "text")
    other = await upload(files, "b.txt", "text")
    (tmp_path / "files" / f"{file_id}.json").write_text("{")
    files = await local_files(tmp_path)
    with pytest.raises(StorageError, match=file_id):
        await retrieve(files, file_id)
    assert [file.id for file in (await listed(files)).data] == [other]
    assert file_id in caplog.text


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("a file")
    with pytest.raises(StartupError, match=r"files in .*files"):
        await local_files(tmp_path)


@pytest.mark.parametrize("instead", ["nothing", "file"])
async def test_a_file_is_not_said_to_be_deleted_while_its_folder_is_away(
    tmp_path: Path, instead: str
) -> None:
    from llama_stack_api import DeleteFileRequest

    files = await local_files(tmp_path)
    file_id = await upload(files, "note.md", b"text")
    folder = (tmp_path / "files").rename(tmp_path / "away")
    if instead == "file":
        (tmp_path / "files").write_bytes(b"")
    with pytest.raises(StorageError):
        await files.openai_delete_file(DeleteFileRequest(file_id=file_id))
    with pytest.raises(StorageError):
        await retrieve(files, file_id)
    (tmp_path / "files").unlink(missing_ok=True)
    folder.rename(tmp_path / "files")
    assert (await files.openai_delete_file(DeleteFileRequest(file_id=file_id))).deleted


@pytest.mark.parametrize("size", [3_000, 3_000_000])
async def test_a_full_disk_leaves_nothing_of_a_file(tmp_path: Path, size: int) -> None:
    files = await local_files(tmp_path)
    with largest_file(1_000), pytest.raises(StorageError, match="File too large"):
        await upload(files, "a.txt", b"x" * size)
    assert names(tmp_path) == set()
