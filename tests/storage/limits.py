"""Limits, payers and a clock for tests of quotas."""

from datetime import UTC, datetime, timedelta

from lightspeed.identity.quota import Limit, Payer

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ALICE, BOB = Payer("alice", "alice"), Payer("bob", "bob")


def user_limit(initial: int = 1000, increase: int = 0, *, name: str = "daily") -> Limit:
    return Limit(name, "user", initial, increase, DAY)


def cluster_limit(initial: int = 1000, increase: int = 0, *, name: str = "all") -> Limit:
    return Limit(name, "cluster", initial, increase, DAY)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def move(self, by: timedelta) -> None:
        self.time += by
