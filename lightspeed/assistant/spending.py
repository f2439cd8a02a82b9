"""Calls of a model that somebody pays for: charged before, while and after they run."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from lightspeed.assistant.events import Usage
from lightspeed.assistant.model_round import ChatModel, ModelRound
from lightspeed.assistant.settling import Settling
from lightspeed.errors import StorageError
from lightspeed.identity.quota import Payer
from lightspeed.stack.chat import ChatPiece, ChatRequest
from lightspeed.stack.tokens import estimated_tokens
from lightspeed.storage.quota_records import Holding, Settlement, TokenUsage

if TYPE_CHECKING:
    from lightspeed.storage.quotas import Quotas

# Tokens of output that are paid ahead. The first block holds most answers: better one question is refused at once
# than many stop half-way.
_FIRST_BLOCK, _BLOCK = 512, 1024
# Where little is left a block takes a part of it, so that others come to their end, too.
_SMALLEST_BLOCK, _SHARE = 64, 8
_BYTES_PER_TOKEN = 4


class MeteredModel:
    """A chat model whose calls one payer pays.

    Where there are limits the provider is always asked to stream, so that a long answer can be charged while it grows.
    """

    def __init__(
        self, model: ChatModel, quotas: "Quotas", settling: Settling, payer: Payer, spender: str
    ) -> None:
        """`spender` names the request for which the calls are made; it may be unique, or one that goes on."""
        self._model = model
        self._quotas = quotas
        self._settling = settling
        self._payer = payer
        self._spender = spender
        self._admitted = False

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatPiece]:
        """Raises TooManyRequests if the quota is used up, here or while the answer is read.

        Raises StorageError here, for the first call, but not later: what was admitted comes to its end without the
        database, with all its calls.
        """
        if self._quotas.limits:
            request = replace(request, stream=True)
        spending = _Spending(self._quotas, self._payer, self._spender)
        asked = ModelRound(request)
        try:
            await spending.begin(request, may_wait=self._admitted)
            self._admitted = True
            pieces = _metered(await asked.ask(self._model), asked, spending, self._settling)
            # From here on it cannot be dropped without its end being run.
            await anext(pieces)
        except BaseException:
            await self._settling.settle(spending.settlement(asked))
            raise
        return pieces


async def _metered(
    pieces: AsyncGenerator[ChatPiece], asked: ModelRound, spending: "_Spending", settling: Settling
) -> AsyncGenerator[ChatPiece]:
    try:
        async with aclosing(pieces):
            yield ChatPiece()
            async for piece in pieces:
                await spending.grow(piece)
                asked.take(piece)
                if piece.text:
                    asked.text.append(piece.text)
                yield piece
    finally:
        await settling.settle(spending.settlement(asked))


class _Spending:
    """What one call has been charged, and what it has cost."""

    def __init__(self, quotas: "Quotas", payer: Payer, spender: str) -> None:
        self._quotas = quotas
        self._payer = payer
        self._spender = spender
        self._charged = 0
        self._holdings: dict[str, Holding] = {}
        self._charging: asyncio.Task[None] | None = None
        self._paid_output = 0
        self._lowest: int | None = None  # balance after the last charge
        self._pieces = self._bytes = 0
        self._goes_on_unpaid = False

    async def begin(self, request: ChatRequest, *, may_wait: bool) -> None:
        """Charge what is sent, and the first block of what comes back.

        `may_wait` says that all is charged at the end if the database is away now; else raises StorageError then.
        """
        if self._quotas.limits:
            sent, _ = await estimated_tokens(request, "")
            self._paid_output = _FIRST_BLOCK
            try:
                await self._charge(sent + self._paid_output)
            except StorageError:
                if not may_wait:
                    raise
                self._goes_on_unpaid = True

    async def grow(self, piece: ChatPiece) -> None:
        """Charge further blocks if the answer, with this piece, is longer than what is paid."""
        size = _bytes(piece.text) if piece.text else 0
        for call in piece.tool_calls:
            size += _bytes(call.name or "") + _bytes(call.arguments)
        if not size or self._goes_on_unpaid or not self._quotas.limits:
            return
        self._pieces += 1
        self._bytes += size
        # Most providers send a piece for each token.
        output = max(self._pieces, self._bytes // _BYTES_PER_TOKEN)
        if output > self._paid_output:
            more = max(self._block(), output - self._paid_output)
            try:
                await self._charge(more)
            except StorageError:
                # The database has gone away meanwhile. What was admitted comes to its end, and is settled then.
                self._goes_on_unpaid = True
            self._paid_output += more

    async def settlement(self, asked: ModelRound) -> Settlement | None:
        """What is left to do when the call has ended, if anything."""
        if self._charging is not None:
            await asyncio.gather(self._charging, return_exceptions=True)
        usage = await asked.usage()
        due = usage.input_tokens + usage.output_tokens - self._charged if self._quotas.limits else 0
        told = self._told(usage, asked.request.model) if self._quotas.keeps_history else None
        if not due and told is None:
            return None
        return Settlement(self._payer, self._spender, due, self._holdings, told)

    async def _charge(self, tokens: int) -> None:
        # In a task of its own: who is cancelled meanwhile has still been charged, and gets it back.
        self._charging = asyncio.create_task(self._take(tokens))
        await asyncio.shield(self._charging)

    async def _take(self, tokens: int) -> None:
        balances = await self._quotas.charge(self._payer, self._spender, tokens)
        self._charged += tokens
        self._lowest = min(balance.available for balance in balances)
        for balance in balances:
            held = self._holdings.get(balance.limit.name)
            before = held.tokens if held is not None and held.period_began == balance.refilled_at else 0
            self._holdings[balance.limit.name] = Holding(balance.refilled_at, before + tokens)

    def _block(self) -> int:
        if self._lowest is None or self._lowest <= 0:
            return _BLOCK
        return max(_SMALLEST_BLOCK, min(_BLOCK, self._lowest // _SHARE))

    def _told(self, usage: Usage, model: str) -> TokenUsage | None:
        if usage == Usage():
            return None
        provider, slash, name = model.partition("/")
        if not slash:
            provider, name = "", model
        return TokenUsage(self._payer.user_id, provider, name, usage.input_tokens, usage.output_tokens)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
