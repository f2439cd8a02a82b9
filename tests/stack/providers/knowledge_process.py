"""`python -m tests.stack.providers.knowledge_process FOLDER`: the provider in a process of its own.

Reads one JSON list for each line, a command and its arguments, and answers each with a line of JSON.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from tests.stack.providers.knowledge_provider import (
    attach,
    count,
    embeddings,
    insert,
    query,
    register,
    vector_io,
)

LEASE_SECONDS = 1.0


class Inference:
    """The real embeddings; `stuck` ones are never answered."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.stuck = False
        self.asked = anyio.Event()

    async def openai_embeddings(self, params: Any) -> Any:
        if self.stuck:
            self.asked.set()
            await anyio.sleep_forever()
        return await self.real.openai_embeddings(params)


class Commands:
    def __init__(self, provider: Any, inference: Inference) -> None:
        self._provider = provider
        self._inference = inference

    async def register(self, store: str) -> None:
        await register(self._provider, store)

    async def insert(self, store: str, text: str) -> None:
        await insert(self._provider, self._inference, store, {text: {}})

    async def query(self, store: str, text: str) -> list[str]:
        found = await query(self._provider, store, text, k=10)
        return [chunk.chunk_id for chunk in found.chunks]

    async def count(self, store: str) -> int:
        return await count(self._provider, store)

    async def delete(self, store: str) -> None:
        await self._provider.openai_delete_vector_store(store)

    async def attach_and_hang(self, store: str, file_id: str) -> None:
        """Returns in the middle of the job, which never ends."""
        self._inference.stuck = True
        await attach(self._provider, store, file_id)
        await self._inference.asked.wait()


async def serve(folder: Path) -> None:
    async with embeddings() as real:
        inference = Inference(real)
        async with vector_io(
            folder, inference, lease_seconds=LEASE_SECONDS, attach_wait_seconds=0
        ) as provider:
            commands = Commands(provider, inference)
            answer("ready")
            while line := await anyio.to_thread.run_sync(sys.stdin.readline):
                name, *arguments = json.loads(line)
                command: Callable[..., Awaitable[Any]] = getattr(commands, name)
                answer(await command(*arguments))


def answer(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(serve, Path(sys.argv[1]))
