"""Several processes with one folder of vector stores, some of which are killed."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.stack.providers.knowledge_process import LEASE_SECONDS
from tests.stack.providers.knowledge_provider import (
    count,
    embeddings,
    insert,
    local_files,
    query,
    register,
    search,
    settled,
    upload,
    vector_io,
)

pytestmark = pytest.mark.anyio

_REPOSITORY = Path(__file__).resolve().parents[3]


class Process:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    async def __call__(self, *command: Any) -> Any:
        return await anyio.to_thread.run_sync(self._ask, command)

    def _ask(self, command: tuple[Any, ...]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if command:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    async def kill(self) -> None:
        self._process.kill()
        await anyio.to_thread.run_sync(self._process.wait)


@asynccontextmanager
async def process(folder: Path) -> AsyncIterator[Process]:
    command = [sys.executable, "-m", "tests.stack.providers.knowledge_process", str(folder)]

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command, cwd=_REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    started = await anyio.to_thread.run_sync(start)
    running = Process(started)
    try:
        assert await running() == "ready"
        yield running
    finally:
        await running.kill()
        for pipe in (started.stdin, started.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture(scope="module")
async def inference() -> AsyncIterator[Any]:
    async with embeddings() as provider:
        yield provider


async def test_each_sees_what_the_other_does(tmp_path: Path, inference: Any) -> None:
    from llama_stack_api import VectorStoreNotFoundError

    async with process(tmp_path) as other, vector_io(tmp_path, inference) as provider:
        await other("register", "kb")
        await other("insert", "kb", "first text of the other")
        assert [chunk.chunk_id for chunk in (await query(provider, "kb", "text")).chunks] == ["first"]
        await register(provider, "kb")
        await insert(provider, inference, "kb", {"second text from here": {}})
        assert sorted(await other("query", "kb", "text")) == ["first", "second"]
        assert [store.id for store in (await provider.openai_list_vector_stores()).data] == ["kb"]

        await other("delete", "kb")
        with pytest.raises(VectorStoreNotFoundError):
            await query(provider, "kb", "text")
        await register(provider, "kb")
        assert (await query(provider, "kb", "text")).chunks == []
        await insert(provider, inference, "kb", {"third text from here": {}})
        assert await other("query", "kb", "text") == ["third"]


async def test_many_start_and_fill_one_store_at_once(tmp_path: Path) -> None:
    async with process(tmp_path) as one, process(tmp_path) as two:

        async def fill(other: Process, name: str) -> None:
            await other("register", "kb")
            for number in range(10):
                await other("insert", "kb", f"{name}{number} is a text")

        async with anyio.create_task_group() as group:
            group.start_soon(fill, one, "one")
            group.start_soon(fill, two, "two")
        assert await one("count", "kb") == await two("count", "kb") == 20


async def test_a_file_that_a_killed_process_was_reading_is_taken_up(tmp_path: Path, inference: Any) -> None:
    text = "\n\n".join(f"Paragraph {number} tells of subject {number}." for number in range(50))
    file_id = await upload(await local_files(tmp_path), "text.txt", text)
    async with process(tmp_path) as killed:
        await killed("register", "kb")
        await killed("attach_and_hang", "kb", file_id)
        async with vector_io(tmp_path, inference, lease_seconds=LEASE_SECONDS) as beside:
            # The living process renews its lease: nobody takes its job.
            await anyio.sleep(1.5 * LEASE_SECONDS)
            assert (await beside.openai_retrieve_vector_store_file("kb", file_id)).status == "in_progress"
            assert await count(beside, "kb") == 0
            await killed.kill()
    async with vector_io(tmp_path, inference, lease_seconds=LEASE_SECONDS) as restarted:
        assert (await settled(restarted, "kb", file_id)).status == "completed"
        hits = (await search(restarted, "kb", "Paragraph 49 subject", max_num_results=50)).data
        assert {hit.file_id for hit in hits} == {file_id}
        contents = await restarted.openai_retrieve_vector_store_file_contents("kb", file_id, False, True)
        assert [item.metadata["chunk_index"] for item in contents.data] == list(range(len(contents.data)))
        assert "subject 49." in contents.data[-1].text


async def test_a_process_that_runs_beside_takes_the_file_up(tmp_path: Path, inference: Any) -> None:
    file_id = await upload(await local_files(tmp_path), "text.txt", "One text.")
    async with vector_io(tmp_path, inference, lease_seconds=LEASE_SECONDS) as beside:
        async with process(tmp_path) as killed:
            await killed("register", "kb")
            await killed("attach_and_hang", "kb", file_id)
            await killed.kill()
        assert (await settled(beside, "kb", file_id)).status == "completed"
        assert await count(beside, "kb") == 1
