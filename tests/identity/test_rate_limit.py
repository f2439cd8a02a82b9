"""How often one caller may ask."""

import pytest

from lightspeed.errors import TooManyRequests
from lightspeed.identity.rate_limit import RateLimit
from tests.clock import Clock


def refused(limit: RateLimit, user: str = "ann") -> int | None:
    """The seconds to wait, or None if the request is welcome."""
    try:
        limit.take(user)
    except TooManyRequests as error:
        return int(error.headers["Retry-After"])
    return None


def test_a_minutes_worth_at_once_and_then_as_many_as_a_minute_allows() -> None:
    clock = Clock()
    limit = RateLimit(6, clock)
    assert [refused(limit) for _ in range(6)] == [None] * 6
    assert refused(limit) == 10
    clock.now += 9.5
    assert refused(limit) == 1
    clock.now += 0.5
    assert refused(limit) is None
    assert refused(limit) == 10


def test_a_refused_request_costs_nothing_and_rest_does_not_add_up() -> None:
    clock = Clock()
    limit = RateLimit(2, clock)
    assert [refused(limit) for _ in range(50)][:2] == [None, None]
    clock.now += 3600
    assert [refused(limit) for _ in range(3)] == [None, None, 30]


def test_callers_do_not_share() -> None:
    limit = RateLimit(1, Clock())
    assert refused(limit, "ann") is None
    assert refused(limit, "bob") is None
    assert refused(limit, "ann") == 60


def test_of_very_many_callers_some_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightspeed.identity.rate_limit._MOST_CALLERS", 3)
    limit = RateLimit(1, Clock())
    for user in "abcd":
        limit.take(user)
    assert refused(limit, "d") == 60
    assert refused(limit, "a") is None
