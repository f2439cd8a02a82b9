import asyncio
import random
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import URL, func, insert, select

from lightspeed.errors import StorageError, TooManyRequests
from lightspeed.identity.quota import Limit, Payer
from lightspeed.storage import schema
from lightspeed.storage.database import Database
from lightspeed.storage.quota_history import TokenUsage
from lightspeed.storage.quota_records import Holding, Settlement
from lightspeed.storage.quotas import Quotas
from tests.storage.limits import ALICE, BOB, DAY, START, Clock, cluster_limit, user_limit

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def left(quotas: Quotas, payer: Payer = ALICE) -> list[int]:
    return [balance.available for balance in await quotas.balances(payer)]


async def charged(
    quotas: Quotas, tokens: int, payer: Payer = ALICE, spender: str = "a"
) -> dict[str, Holding]:
    balances = await quotas.charge(payer, spender, tokens)
    return {balance.limit.name: Holding(balance.refilled_at, tokens) for balance in balances}


async def test_all_balances_are_charged_or_none(database: Database) -> None:
    limits = [user_limit(100), cluster_limit(250), user_limit(30, name="hourly")]
    quotas = Quotas(database, limits)
    await charged(quotas, 20)
    assert await left(quotas) == [80, 230, 10]
    assert await left(quotas, BOB) == [100, 230, 30]
    await charged(quotas, 20)
    assert await left(quotas) == [60, 210, -10]
    with pytest.raises(TooManyRequests, match="User alice"):
        await charged(quotas, 20, spender="b")
    assert await left(quotas) == [60, 210, -10]
    with pytest.raises(TooManyRequests, match="User alice"):
        await charged(quotas, 20, spender="b")
    await charged(quotas, 211, BOB, "c")
    assert await left(quotas, BOB) == [-111, -1, -181]
    # Of those that are used up, the error names the first one of the configuration.
    with pytest.raises(TooManyRequests, match="Cluster"):
        await charged(quotas, 1, Payer("carol", "carol"), "d")
    with pytest.raises(TooManyRequests, match="User bob"):
        await charged(quotas, 1, BOB, "d")


async def test_only_the_one_that_overdraws_may_go_on(database: Database) -> None:
    quotas = Quotas(database, [user_limit(100)])
    await charged(quotas, 90, spender="a")
    await charged(quotas, 10, spender="b")
    for _ in range(2):
        with pytest.raises(TooManyRequests):
            await charged(quotas, 1, spender="a")
        await charged(quotas, 5, spender="b")
    assert await left(quotas) == [-10]
    await quotas.settle(Settlement(ALICE, "b", -5, {"daily": Holding(START, 0)}))
    # It gets back only what it has been charged in this period: none of it.
    assert await left(quotas) == [-10]
    [balance] = await quotas.balances(ALICE)
    held = {"daily": Holding(balance.refilled_at, 90)}
    await quotas.settle(Settlement(ALICE, "a", -90, held))
    [balance] = await quotas.balances(ALICE)
    assert (balance.available, balance.overdrawn_by) == (80, None)
    await charged(quotas, 80, spender="a")
    with pytest.raises(TooManyRequests):
        await charged(quotas, 1, spender="b")


async def test_a_settlement_that_overdraws_keeps_others_out(database: Database) -> None:
    quotas = Quotas(database, [user_limit(100)])
    await charged(quotas, 50, spender="a")
    await quotas.settle(Settlement(ALICE, "a", 70))
    [balance] = await quotas.balances(ALICE)
    assert (balance.available, balance.overdrawn_by) == (-20, "a")
    await charged(quotas, 5, spender="a")
    with pytest.raises(TooManyRequests):
        await charged(quotas, 5, spender="b")


async def test_two_workers_make_the_first_balance_together(place: URL) -> None:
    databases = [Database(place) for _ in range(2)]
    limits = [user_limit(10_000), cluster_limit(20_000)]
    workers = [Quotas(database, limits) for database in databases]
    try:
        jobs = [charged(workers[number % 2], 7, ALICE, str(number)) for number in range(20)]
        await asyncio.gather(*jobs, *(left(worker) for worker in workers))
        assert [await left(worker) for worker in workers] == [[9_860, 19_860]] * 2
    finally:
        for database in databases:
            await database.close()


async def test_a_charge_on_a_row_that_nobody_has_read_is_kept(database: Database) -> None:
    quotas = Quotas(database, [user_limit(100)])
    await quotas.settle(Settlement(ALICE, "a", 30))
    assert await left(quotas) == [70]


async def test_tokens_beyond_32_bits(database: Database) -> None:
    quotas = Quotas(database, [user_limit(10**15)], keeps_history=True)
    await charged(quotas, 3 * 10**9)
    usage = TokenUsage("alice", "acme", "m1", 3 * 10**9, 2)
    await quotas.settle(Settlement(ALICE, "a", 0, usage=usage))
    assert await left(quotas) == [10**15 - 3 * 10**9]
    assert await quotas.usage("alice") == [usage]


async def test_odd_ids_have_a_balance(database: Database) -> None:
    quotas = Quotas(database, [user_limit(100)])
    odd = Payer("O'Neil \x00 \ud800 ü", "x")
    await charged(quotas, 10, odd)
    assert await left(quotas, odd) == [90]
    assert await left(quotas, Payer(odd.id, "x", "system")) == [100]


async def test_a_reset(database: Database, clock: Clock) -> None:
    quotas = Quotas(database, [user_limit(100), cluster_limit(500, name="none")], now=clock)
    await charged(quotas, 130)
    await charged(quotas, 5, BOB)
    clock.move(DAY - timedelta(microseconds=1))
    assert await quotas.refill() == 0
    assert await left(quotas) == [-30, 365]
    clock.move(timedelta(microseconds=1))
    assert await quotas.refill() == 3
    assert await left(quotas) == [100, 500]
    assert await left(quotas, BOB) == [100, 500]
    assert await quotas.refill() == 0
    [balance, _] = await quotas.balances(ALICE)
    assert (balance.overdrawn_by, balance.refilled_at) == (None, START + DAY)


async def test_an_increase(database: Database, clock: Clock) -> None:
    quotas = Quotas(database, [user_limit(0, 10)], now=clock)
    assert await left(quotas) == [10]
    await charged(quotas, 25)
    clock.move(DAY)
    assert await quotas.refill() == 1
    [balance] = await quotas.balances(ALICE)
    # Not above zero yet: who has overdrawn still has.
    assert (balance.available, balance.overdrawn_by) == (-5, "a")
    # Periods that nobody has noticed count once.
    clock.move(5 * DAY)
    assert await quotas.refill() == 1
    [balance] = await quotas.balances(ALICE)
    assert (balance.available, balance.overdrawn_by) == (5, None)


async def test_both_make_their_sum(database: Database, clock: Clock) -> None:
    quotas = Quotas(database, [user_limit(100, 10)], now=clock)
    assert await left(quotas) == [100]
    await charged(quotas, 60)
    for _ in range(2):
        clock.move(DAY)
        assert await quotas.refill() == 1
        assert await left(quotas) == [110]


async def test_nothing_is_refilled_where_there_is_nothing_to_add(database: Database, clock: Clock) -> None:
    quotas = Quotas(database, [user_limit(0, 0)], now=clock)
    assert await left(quotas) == [0]
    clock.move(2 * DAY)
    assert await quotas.refill() == 0


async def test_several_sweepers_refill_once(place: URL, clock: Clock) -> None:
    databases = [Database(place) for _ in range(3)]
    sweepers = [Quotas(database, [user_limit(0, 10)], now=clock) for database in databases]
    row = {"limiter": "daily", "subject": "user", "available": 10, "updated_at": START, "refilled_at": START}
    rows = [row | {"subject_id": str(number)} for number in range(600)]
    try:
        await databases[0].write(lambda connection: connection.execute(insert(schema.quotas), rows) and None)
        clock.move(DAY)
        assert sum(await asyncio.gather(*(sweeper.refill() for sweeper in sweepers))) == 600
        sums = select(func.min(schema.quotas.c.available), func.max(schema.quotas.c.available))
        assert await databases[0].read(lambda connection: tuple(connection.execute(sums).one())) == (20, 20)
    finally:
        for database in databases:
            await database.close()


async def test_what_a_reset_has_made_good_is_not_given_back(database: Database, clock: Clock) -> None:
    quotas = Quotas(database, [user_limit(1000), cluster_limit(0, 1000)], now=clock)
    held = await charged(quotas, 400)
    clock.move(DAY)
    await quotas.refill()
    assert await left(quotas) == [1000, 1600]
    await quotas.settle(Settlement(ALICE, "a", -300, held))
    assert await left(quotas) == [1000, 1900]
    # What the call has cost beyond what it was charged belongs to the new period.
    await quotas.settle(Settlement(ALICE, "a", 50, held))
    assert await left(quotas) == [950, 1850]


async def test_only_what_was_taken_after_a_reset_is_given_back(database: Database, clock: Clock) -> None:
    quotas = Quotas(database, [user_limit(1000), cluster_limit(0, 1000)], now=clock)
    await charged(quotas, 400)
    clock.move(DAY)
    await quotas.refill()
    held = await charged(quotas, 200)
    assert await left(quotas) == [800, 1400]
    await quotas.settle(Settlement(ALICE, "a", -500, held))
    assert await left(quotas) == [1000, 1900]


async def test_settlement_and_history_are_one(database: Database) -> None:
    quotas = Quotas(database, [user_limit(100)], keeps_history=True)
    await database.write(
        lambda connection: connection.exec_driver_sql("DROP TABLE lightspeed_quotas") and None
    )
    usage = TokenUsage("alice", "acme", "m1", 1, 1)
    with pytest.raises(StorageError):
        await quotas.settle(Settlement(ALICE, "a", 30, usage=usage))
    assert await quotas.usage("alice") == []


async def test_a_history_is_summed_by_model(database: Database) -> None:
    quotas = Quotas(database, keeps_history=True)

    async def add(model: str, sent: int, received: int, user_id: str = "alice") -> None:
        usage = TokenUsage(user_id, "acme", model, sent, received)
        await quotas.settle(Settlement(Payer(user_id, user_id), "a", 0, usage=usage))

    await asyncio.gather(add("m1", 1, 2), add("m1", 10, 20), add("m2", 5, 5), add("m1", 7, 7, "bob"))
    assert await quotas.usage("alice") == [
        TokenUsage("alice", "acme", "m1", 11, 22),
        TokenUsage("alice", "acme", "m2", 5, 5),
    ]


async def test_a_user_is_erased_without_a_gain(database: Database) -> None:
    quotas = Quotas(database, [user_limit(100), user_limit(50, name="hourly")], keeps_history=True)
    for payer in (ALICE, BOB):
        usage = TokenUsage(payer.id, "acme", "m1", 1, 1)
        await quotas.settle(Settlement(payer, "a", 0, usage=usage))
        await left(quotas, payer)
    alone = Quotas(database, quotas.limits[:1])
    await charged(alone, 10)
    assert await quotas.count_user("alice") == 1
    assert await quotas.erase_user("alice") == 1
    assert (await quotas.usage("alice"), len(await quotas.usage("bob"))) == ([], 1)

    def rows(connection: object) -> list[tuple[str, str]]:
        found = connection.exec_driver_sql(  # type: ignore[attr-defined]
            "SELECT subject_id, limiter FROM lightspeed_quotas ORDER BY 1, 2"
        )
        return [tuple(row) for row in found]

    # The balance that is lower than a new one has stayed.
    kept = [("alice", "daily"), ("bob", "daily"), ("bob", "hourly")]
    assert await database.read(rows) == kept
    assert await left(quotas) == [90, 50]
    # Without limits, balances are nobody's business any more.
    await Quotas(database, keeps_history=True).erase_user("alice")
    assert await database.read(rows) == kept[1:]


@pytest.mark.parametrize("seed", range(2))
async def test_every_token_is_counted_once(place: URL, clock: Clock, seed: int) -> None:
    """Random calls of three users in two workers: what is left is what was there, less what was used."""
    chance = random.Random(seed)
    databases = [Database(place) for _ in range(2)]
    limits = [user_limit(5_000), cluster_limit(12_000), user_limit(0, 9_000, name="more")]
    workers = [Quotas(database, limits, now=clock) for database in databases]
    spent: Counter[str] = Counter()

    async def call(number: int, payer: Payer, reserved: list[int], used: int) -> None:
        quotas, total, held = workers[number % 2], 0, dict[str, Holding]()
        try:
            for tokens in reserved:
                balances = await quotas.charge(payer, str(number), tokens)
                total += tokens
                held = {balance.limit.name: Holding(balance.refilled_at, total) for balance in balances}
        except TooManyRequests:
            used = min(used, total)
        await quotas.settle(Settlement(payer, str(number), used - total, held))
        spent[payer.id] += used

    def some_call(number: int) -> tuple[int, Payer, list[int], int]:
        payer = chance.choice([ALICE, BOB, Payer("carol", "carol")])
        reserved = [chance.randrange(1, 400) for _ in range(chance.randrange(1, 4))]
        return number, payer, reserved, chance.randrange(0, 1000)

    try:
        await asyncio.gather(*(call(*some_call(number)) for number in range(40)))
        for payer in (ALICE, BOB):
            mine = spent[payer.id]
            assert await left(workers[0], payer) == [5_000 - mine, 12_000 - spent.total(), 9_000 - mine]
    finally:
        for database in databases:
            await database.close()


def test_limits_keep_the_order_of_the_configuration() -> None:
    limits: list[Limit] = [user_limit(name="z"), cluster_limit(name="a")]
    assert list(Quotas(Database.in_memory(), limits).limits) == limits
