"""The name of a conversation, made by the model that answered its first question."""

import asyncio
import logging
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

from lightspeed.assistant.events import Usage
from lightspeed.assistant.model_round import ChatModel, ModelRound
from lightspeed.assistant.topic_name import topic_name
from lightspeed.errors import LightspeedError
from lightspeed.stack.chat import ChatRequest
from lightspeed.storage.records import TurnRecord
from lightspeed.telemetry.metrics import Face, Metrics

if TYPE_CHECKING:
    from lightspeed.storage.conversations import Conversations

logger = logging.getLogger(__name__)

_TAKES_AT_MOST = 30.0  # seconds
_AT_ONCE = 4
_LONGEST_QUERY = 2000  # characters


class TopicSummaries:
    """Names conversations in the background. Best effort: what fails is logged and not tried again."""

    def __init__(self, conversations: "Conversations", metrics: Metrics, prompt: str) -> None:
        self._conversations = conversations
        self._metrics = metrics
        self._prompt = prompt
        # Questions come first: names must not take all slots of a local model.
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, turn: TurnRecord, model_name: str, face: Face, model: ChatModel) -> None:
        """Begin to name the conversation of a recorded turn. `model_name` is `provider/model`."""
        if not turn.query.strip():
            return
        task = asyncio.create_task(self._name(turn, model_name, face, model), name=f"topic {turn.request_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, grace: float = 2.0) -> None:
        """Give those that run a short moment."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _name(self, turn: TurnRecord, model_name: str, face: Face, model: ChatModel) -> None:
        asked = ModelRound(ChatRequest(model_name, self._messages(turn.query), stream=True))
        name = ""
        try:
            async with asyncio.timeout(_TAKES_AT_MOST), self._slots:
                name = await self._counted(asked, turn, face, model)
        except TimeoutError:
            logger.warning("A conversation gets no name: none was made in %g seconds", _TAKES_AT_MOST)
        except LightspeedError as error:
            logger.warning("A conversation gets no name: %s", error)
        except Exception as error:
            logger.warning("A conversation gets no name: %s", type(error).__name__)
            logger.debug("The cause", exc_info=True)
        await self._keep(turn, face, name, await asked.usage())

    async def _counted(self, asked: ModelRound, turn: TurnRecord, face: Face, model: ChatModel) -> str:
        clock = time.perf_counter()
        result: Literal["success", "failure"] = "failure"
        try:
            name = await self._read(asked, model)
            result = "success"
        finally:
            seconds = time.perf_counter() - clock
            self._metrics.model_call(turn.provider, turn.model, face, duration=seconds, result=result)
        return name

    async def _read(self, asked: ModelRound, model: ChatModel) -> str:
        # Not to its end: a small model goes on and on.
        async with aclosing(await asked.ask(model)) as pieces:
            async for piece in pieces:
                asked.take(piece)
                if piece.text:
                    asked.text.append(piece.text)
                    if (name := topic_name("".join(asked.text), ended=False)) is not None:
                        return name
        return topic_name("".join(asked.text), ended=True) or ""

    async def _keep(self, turn: TurnRecord, face: Face, name: str, usage: Usage) -> None:
        if not name and usage == Usage():
            return
        sent, received = usage.input_tokens, usage.output_tokens
        self._metrics.tokens(turn.provider, turn.model, face, sent=sent, received=received)
        try:
            await self._conversations.suggest_name(
                turn.conversation_id, name, input_tokens=sent, output_tokens=received
            )
        except LightspeedError as error:
            logger.warning("The name of a conversation cannot be kept: %s", error)

    def _messages(self, query: str) -> list[dict[str, str]]:
        """The instruction twice: a small model that reads it only before the question answers the question."""
        question = query[:_LONGEST_QUERY]
        return [
            {"role": "system", "content": self._prompt},
            {"role": "user", "content": f"{self._prompt}\n\nQuestion: {question}\n\nTitle:"},
        ]
