import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from lightspeed.assistant.generation import Generation
from lightspeed.assistant.metering import Account, Metering
from lightspeed.errors import ModelRefused, TooManyRequests
from lightspeed.stack.chat import ChatPiece, ChatRequest, ToolCallPiece
from lightspeed.stack.tokens import estimated_tokens
from lightspeed.storage.database import Database
from lightspeed.storage.quotas import Quotas
from tests.assistant.paying import REQUEST, Speaker, left, read
from tests.storage.limits import ALICE, user_limit

pytestmark = pytest.mark.anyio

BALANCE = 100_000


@pytest.fixture
async def quotas() -> AsyncIterator[Quotas]:
    database = Database.in_memory()
    yield Quotas(database, [user_limit(BALANCE)])
    await database.close()


@pytest.fixture
def account(quotas: Quotas) -> Account:
    return Metering(quotas).account(ALICE)


@pytest.fixture
async def sent() -> int:
    return (await estimated_tokens(REQUEST, ""))[0]


async def spent(quotas: Quotas) -> int:
    return BALANCE - (await left(quotas, ALICE))[0]


async def test_an_answer_is_the_same_and_costs_what_the_provider_says(
    quotas: Quotas, account: Account
) -> None:
    model = Speaker()
    assert await read(account.metered(model)) == "now " * 3
    assert await spent(quotas) == 23
    [request] = model.requests
    # So that it can be charged while it grows.
    assert request.stream
    assert request.messages == REQUEST.messages


async def test_a_generation_costs_what_it_says(quotas: Quotas, account: Account) -> None:
    for usage in ((20, 3), None):
        before = await spent(quotas)
        model = account.metered(Speaker(usage=usage))
        generation = Generation(model, "acme/m1", REQUEST.messages, stream=False)
        async for _ in generation.events():
            pass
        counted = await generation.usage()
        assert generation.text == "now " * 3
        assert await spent(quotas) - before == counted.input_tokens + counted.output_tokens


async def test_a_growing_answer_is_paid_in_blocks(quotas: Quotas, account: Account, sent: int) -> None:
    charged: dict[int, int] = {}
    # The last word before a further block is charged, and the first one after that.
    changes = {512 + 1, 512 + 1024 + 1, 512 + 2048 + 1}

    async def look(word: int) -> None:
        if word == 1 or {word, word - 1} & changes:
            charged[word] = await spent(quotas) - sent

    await read(account.metered(Speaker(3000, (20, 3000), before=look)))
    assert charged == {1: 512, 513: 512, 514: 1536, 1537: 1536, 1538: 2560, 2561: 2560, 2562: 3584}
    assert await spent(quotas) == 3020


async def test_blocks_are_smaller_where_little_is_left(quotas: Quotas, account: Account, sent: int) -> None:
    await quotas.charge(ALICE, "another", BALANCE - 1320 - sent)
    rest: list[int] = []

    async def look(word: int) -> None:
        now = (await left(quotas, ALICE))[0]
        if word > 512 and rest[-1:] != [now]:
            rest.append(now)

    await read(account.metered(Speaker(750, (20, 750), before=look)))
    # An eighth of what was left.
    assert rest == [808, 808 - 101, 707 - 88, 619 - 77]


async def test_large_pieces_are_paid_by_their_length(quotas: Quotas, account: Account, sent: int) -> None:
    charged: list[int] = []

    class Large:
        async def chat(self, request: ChatRequest) -> AsyncIterator[ChatPiece]:
            async def pieces() -> AsyncIterator[ChatPiece]:
                yield ChatPiece("a" * 4 * 3000)
                charged.append(await spent(quotas))
                yield ChatPiece(tool_calls=(ToolCallPiece(0, "1", "find", "ü" * 2 * 1000),))
                charged.append(await spent(quotas))
                raise ModelRefused("It broke.")

            return pieces()

    with pytest.raises(ModelRefused):
        await read(account.metered(Large()))  # type: ignore[arg-type]
    assert charged == [sent + 3000, sent + 3000 + 1024]


async def test_what_the_provider_refuses_costs_nothing(quotas: Quotas, account: Account) -> None:
    async def refuse() -> None:
        assert await spent(quotas) > 512
        raise ModelRefused("No.")

    with pytest.raises(ModelRefused):
        await read(account.metered(Speaker(accepts=refuse)))
    assert await spent(quotas) == 0


async def test_an_interrupted_answer_costs_what_was_said(quotas: Quotas, account: Account, sent: int) -> None:
    words = asyncio.Event()

    async def wait(word: int) -> None:
        if word == 11:
            words.set()
            await asyncio.Event().wait()

    model = Speaker(100, None, before=wait)
    task = asyncio.create_task(read(account.metered(model)))
    await words.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    _, received = await estimated_tokens(REQUEST, "now " * 10)
    assert await spent(quotas) == sent + received
    assert model.closed == 1


async def test_an_abandoned_answer_is_settled(quotas: Quotas, account: Account, sent: int) -> None:
    answer = await account.metered(Speaker(100, None)).chat(REQUEST)
    assert await spent(quotas) > sent
    # Not even begun, and not closed.
    del answer
    gc.collect()
    while True:
        if await spent(quotas) == sent:
            break
        await asyncio.sleep(0.01)


async def test_one_cancelled_while_it_asks_has_sent_something(
    quotas: Quotas, account: Account, sent: int
) -> None:
    asked = asyncio.Event()

    async def never() -> None:
        asked.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(read(account.metered(Speaker(accepts=never))))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await spent(quotas) == sent


async def test_one_cancelled_while_it_is_charged_gets_it_back(quotas: Quotas, account: Account) -> None:
    model = Speaker()
    for turns in range(12):
        task = asyncio.create_task(read(account.metered(model)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if model.requests:
            break
        assert task.cancelled()
        assert await spent(quotas) == 0


async def test_without_tokens_the_model_is_not_asked(quotas: Quotas, account: Account) -> None:
    await quotas.charge(ALICE, "another", BALANCE)
    model = Speaker()
    with pytest.raises(TooManyRequests, match="User alice has no available tokens"):
        await read(account.metered(model))
    assert model.requests == []
    assert await spent(quotas) == BALANCE


async def test_a_model_without_a_provider_has_a_history() -> None:
    database = Database.in_memory()
    quotas = Quotas(database, keeps_history=True)
    model = Metering(quotas).account(ALICE).metered(Speaker())
    for name in ("acme/large/m2", "m1"):
        await read(model, ChatRequest(name, REQUEST.messages, stream=True))
    kept = [(usage.provider, usage.model) for usage in await quotas.usage("alice")]
    assert kept == [("", "m1"), ("acme", "large/m2")]
    await database.close()
