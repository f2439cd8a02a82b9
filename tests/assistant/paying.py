"""A chat model that says what it is told to, and what is left of a quota."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from lightspeed.assistant.model_round import ChatModel
from lightspeed.identity.quota import Payer
from lightspeed.stack.chat import ChatPiece, ChatRequest
from lightspeed.storage.quotas import Quotas

REQUEST = ChatRequest("acme/m1", [{"role": "user", "content": "How many nodes?"}], stream=False)


async def _nothing() -> None:
    pass


@dataclass
class Speaker:
    """Says `words` one by one, then tells its `usage`, input and output tokens, if it has one.

    `accepts` runs when it is asked, `before` before each word, given its number from 1.
    """

    words: int = 3
    usage: tuple[int, int] | None = (20, 3)
    accepts: Callable[[], Awaitable[None]] = _nothing
    before: Callable[[int], Awaitable[None]] = lambda _: _nothing()
    requests: list[ChatRequest] = field(default_factory=list)
    closed: int = 0

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatPiece]:
        self.requests.append(request)
        await self.accepts()
        return self._pieces()

    async def _pieces(self) -> AsyncGenerator[ChatPiece]:
        try:
            for number in range(1, self.words + 1):
                await self.before(number)
                yield ChatPiece("now ")
            yield ChatPiece(finish_reason="stop")
            if self.usage is not None:
                yield ChatPiece(input_tokens=self.usage[0], output_tokens=self.usage[1])
        finally:
            self.closed += 1


async def read(model: ChatModel, request: ChatRequest = REQUEST, *, pieces: int | None = None) -> str:
    """Ask, and read the answer, or its first pieces."""
    text = ""
    async with aclosing(await model.chat(request)) as answer:
        async for piece in answer:
            text += piece.text
            if pieces is not None:
                pieces -= 1
                if not pieces:
                    break
            await asyncio.sleep(0)
    return text


async def left(quotas: Quotas, payer: Payer) -> list[int]:
    return [balance.available for balance in await quotas.balances(payer)]
