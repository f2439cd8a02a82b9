"""What is looked for is embedded once for each model."""

from collections.abc import Sequence

import anyio
import numpy as np
import pytest

from lightspeed.stack.question import Question, TextEmbedder, Vectors

pytestmark = pytest.mark.anyio


class Embedder(TextEmbedder):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.go_on = anyio.Event()

    async def _embed(self, model: str, texts: Sequence[str]) -> Vectors:
        self.calls.append(model)
        if model == "slow":
            await self.go_on.wait()
        return np.ones((len(texts), 2), np.float32)


async def test_a_model_is_asked_once_and_keeps_nobody_from_another() -> None:
    embedder = Embedder()
    question = Question("nodes", embedder)
    async with anyio.create_task_group() as group:
        group.start_soon(question.vector, "slow")
        group.start_soon(question.vector, "slow")
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(5):
            await question.vector("quick")
        embedder.go_on.set()
    assert embedder.calls == ["slow", "quick"]


async def test_one_who_gives_up_does_not_throw_away_a_model_that_is_being_loaded() -> None:
    class Loading(TextEmbedder):
        def __init__(self) -> None:
            self.loaded = anyio.Event()
            self.go_on = anyio.Event()

        async def _embed(self, model: str, texts: Sequence[str]) -> Vectors:
            if not self.loaded.is_set():
                await self.go_on.wait()
                self.loaded.set()
            return np.ones((len(texts), 2), np.float32)

    embedder = Loading()
    with anyio.move_on_after(0.01) as first:
        await Question("nodes", embedder).vector("m")
    assert first.cancelled_caught
    embedder.go_on.set()
    with anyio.fail_after(5):
        await embedder.loaded.wait()
        assert (await Question("taints", embedder).vector("m")).tolist() == [1, 1]
