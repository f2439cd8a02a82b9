"""Accounts on both databases, with two workers that share them."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from lightspeed.assistant.events import Usage
from lightspeed.assistant.metering import UNMETERED, Metering
from lightspeed.assistant.model_round import ModelRound
from lightspeed.errors import ModelRefused, TooManyRequests
from lightspeed.identity.quota import Payer
from lightspeed.storage.database import Database
from lightspeed.storage.quota_history import TokenUsage
from lightspeed.storage.quotas import Quotas, Settlement
from tests.assistant.paying import REQUEST, Speaker, left, read
from tests.postgresql import Postgresql
from tests.storage.limits import ALICE, BOB, cluster_limit, user_limit

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    if request.param == "sqlite":
        return URL.create("sqlite", database=str(tmp_path / "quota.db"))
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.url(server.emptied_database())


@pytest.fixture
async def databases(place: URL) -> AsyncIterator[list[Database]]:
    """Those of two workers."""
    both = [Database(place) for _ in range(2)]
    yield both
    for database in both:
        await database.close()


async def test_it_costs_nothing_where_nothing_is_counted() -> None:
    model = Speaker()
    account = UNMETERED.account(ALICE)
    await account.admit()
    assert account.metered(model) is model
    assert await account.available() == {}
    await UNMETERED.close()
    metering = Metering(Quotas(Database.in_memory(), [user_limit()]))
    assert metering.account(None).metered(model) is model


@pytest.mark.parametrize("words", [300, 600])
async def test_fifty_at_once_cannot_overdraw(databases: list[Database], words: int) -> None:
    used = (20, words)
    balance, sizes = 10 * sum(used), (20, 512, 1024)
    limits = [user_limit(balance)]
    workers = [Metering(Quotas(database, limits)) for database in databases]
    seen: list[int] = []
    refusals: list[TooManyRequests] = []

    async def ask(number: int) -> bool:
        account = workers[number % 2].account(ALICE)

        async def look(word: int) -> None:
            if word in (1, 514):
                seen.extend((await account.available()).values())

        try:
            await account.admit()
            await read(account.metered(Speaker(words, used, before=look)))
        except TooManyRequests as error:
            refusals.append(error)
            return False
        return True

    answers = await asyncio.gather(*(ask(number) for number in range(50)))
    [rest] = await left(Quotas(databases[0], limits), ALICE)
    # Who need no more than they have reserved come to their end.
    assert (5 if words == 300 else 1) <= sum(answers) <= 11
    # Nobody went below what one request can overdraw, at any time.
    assert min(seen) > -sum(sizes)
    assert rest > -sum(sizes)
    # When all has come to rest, questions are answered until nothing is left.
    while rest > 0:
        assert await ask(0)
        [rest] = await left(Quotas(databases[0], limits), ALICE)
    assert not await ask(1)
    assert rest > -sum(sizes)
    assert {error.cause for error in refusals} == {"User alice has no available tokens"}
    assert all(0 < int(error.headers["Retry-After"]) <= 86400 for error in refusals)


async def test_the_one_that_overdraws_comes_to_its_end(databases: list[Database]) -> None:
    first, second = (
        Metering(Quotas(database, [user_limit(600), cluster_limit(9999)])) for database in databases
    )
    overdrawing, other = first.account(ALICE), second.account(ALICE)
    refused: list[str] = []

    async def meanwhile(word: int) -> None:
        if word == 590:
            await overdrawing.admit()
            for attempt in (other.admit(), read(other.metered(Speaker()))):
                with pytest.raises(TooManyRequests) as raised:
                    await attempt
                refused.append(raised.value.cause)

    long = Speaker(2000, (20, 2000), before=meanwhile)
    assert await read(overdrawing.metered(long)) == "now " * 2000
    assert refused == ["User alice has no available tokens"] * 2
    # Its further rounds go on, too.
    await read(overdrawing.metered(Speaker(1, (5, 1))))
    key = ["UserQuotaLimiter", "ClusterQuotaLimiter"]
    assert await other.available() == dict(zip(key, (600 - 2026, 9999 - 2026), strict=True))
    with pytest.raises(TooManyRequests):
        await other.admit()


async def test_others_stop_when_they_need_more(databases: list[Database]) -> None:
    first, second = (Metering(Quotas(database, [user_limit(600)])) for database in databases)

    async def overdraw(word: int) -> None:
        if word == 200:
            quotas = Quotas(databases[0], [user_limit(600)])
            await quotas.charge(ALICE, "another", 600)

    asked = ModelRound(REQUEST)

    async def answer() -> None:
        pieces = await asked.ask(first.account(ALICE).metered(Speaker(600, None, before=overdraw)))
        async for piece in pieces:
            asked.text.append(piece.text)

    with pytest.raises(TooManyRequests, match="User alice"):
        await answer()
    assert "".join(asked.text) == "now " * 512
    # What was said until then is charged.
    usage = await asked.usage()
    assert await second.account(ALICE).available() == {
        "UserQuotaLimiter": -usage.input_tokens - usage.output_tokens
    }


async def test_limiters_of_one_type_have_their_own_names(databases: list[Database]) -> None:
    limits = [user_limit(100), cluster_limit(900), user_limit(50, name="weekly"), cluster_limit(1, name="c")]
    account = Metering(Quotas(databases[0], limits)).account(ALICE)
    assert await account.available() == {
        "UserQuotaLimiter": 100,
        "ClusterQuotaLimiter": 900,
        "UserQuotaLimiter:weekly": 50,
        "ClusterQuotaLimiter:c": 1,
    }
    await Quotas(databases[1], limits).settle(Settlement(BOB, "b", 1))
    with pytest.raises(TooManyRequests, match="Cluster has no available tokens"):
        await account.admit()


async def test_the_history_needs_no_limits(databases: list[Database]) -> None:
    workers = [Metering(Quotas(database, keeps_history=True)) for database in databases]
    organization = Payer("7", "alice", "organization")
    model = Speaker()
    accounts = [workers[number % 2].account(organization) for number in range(10)]
    for account in accounts:
        await account.admit()
    await asyncio.gather(*(read(account.metered(model)) for account in accounts))
    assert await accounts[0].available() == {}
    assert await Quotas(databases[0]).usage("alice") == [TokenUsage("alice", "acme", "m1", 200, 30)]
    # Only where something is reserved must the answer be streamed.
    assert {request.stream for request in model.requests} == {False}


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_left_is_what_was_there_less_what_was_used(
    databases: list[Database], seed: int
) -> None:
    """Calls that end, that fail, that are refused, broken off or cancelled, in two workers."""
    chance = random.Random(seed)
    limits = [user_limit(50_000), cluster_limit(90_000), user_limit(0, 30_000, name="more")]
    workers = [Metering(Quotas(database, limits, keeps_history=True)) for database in databases]
    asked: dict[str, list[ModelRound]] = {"alice": [], "bob": []}

    async def call(number: int, payer: Payer, kind: str, words: int, knows: bool) -> None:
        async def before(word: int) -> None:
            await asyncio.sleep(0)
            if word == words // 2:
                if kind == "fails":
                    raise ModelRefused("It broke.")
                if kind == "cancelled":
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()

        async def accepts() -> None:
            if kind == "refused":
                raise ModelRefused("No.")

        model = (
            workers[number % 2]
            .account(payer)
            .metered(Speaker(words, (17, words) if knows else None, accepts, before))
        )
        current = ModelRound(REQUEST)
        asked[payer.id].append(current)
        answer = await current.ask(model)
        count = 0
        try:
            async for piece in answer:
                current.take(piece)
                current.text.append(piece.text)
                count += 1
                if kind == "broken off" and count == words // 3:
                    break
        finally:
            await answer.aclose()

    kinds = ["ends", "fails", "refused", "broken off", "cancelled"]
    calls = [
        call(
            number,
            chance.choice([ALICE, BOB]),
            chance.choice(kinds),
            chance.randrange(3, 900),
            chance.random() < 0.7,
        )
        for number in range(30)
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), ModelRefused, asyncio.CancelledError}
    used = {user: sum([await one.usage() for one in rounds], Usage()) for user, rounds in asked.items()}
    tokens = {user: usage.input_tokens + usage.output_tokens for user, usage in used.items()}
    quotas = Quotas(databases[0], limits)
    for payer in (ALICE, BOB):
        mine = tokens[payer.id]
        assert await left(quotas, payer) == [50_000 - mine, 90_000 - sum(tokens.values()), 30_000 - mine]
        [kept] = await quotas.usage(payer.id)
        assert Usage(kept.input_tokens, kept.output_tokens) == used[payer.id]
    for worker in workers:
        await worker.close()
