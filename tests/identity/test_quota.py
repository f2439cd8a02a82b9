from datetime import timedelta

import pytest

from lightspeed.configuration.quota import QuotaLimiterConfiguration
from lightspeed.identity.principal import Principal
from lightspeed.identity.quota import Balance, Limit, Payer, quota_exceeded
from tests.storage.limits import ALICE, DAY, START, cluster_limit, user_limit


def test_a_limit_is_read_from_the_configuration() -> None:
    given = {"name": "n", "initial_quota": 5, "quota_increase": 2, "period": "2 hours"}
    users = Limit.read(QuotaLimiterConfiguration(type="user_limiter", **given))
    assert users == Limit("n", "user", 5, 2, timedelta(hours=2))
    assert Limit.read(QuotaLimiterConfiguration(type="cluster_limiter", **given)).per == "cluster"


def test_the_payer_of_a_caller() -> None:
    caller = Principal("alice", "Alice", organization_id="7", system_id="s")
    assert Payer.of(caller) == Payer("alice", "alice", "user")
    assert Payer.of(caller, "org_id") == Payer("7", "alice", "organization")
    assert Payer.of(caller, "system_id") == Payer("s", "alice", "system")
    # Who has no such id pays alone.
    for subject in ("org_id", "system_id"):
        assert Payer.of(Principal("alice", "Alice"), subject) == ALICE


def test_ids_of_different_kinds_are_different_payers() -> None:
    limit = user_limit()
    kinds = [Payer("7", "alice", kind) for kind in ("user", "organization", "system")]
    assert len({limit.subject(payer) for payer in kinds}) == 3
    assert {cluster_limit().subject(payer) for payer in kinds} == {("cluster", "")}


def test_who_only_gets_increases_gets_the_first_one_at_once() -> None:
    assert user_limit(0, 10).first == 10
    assert user_limit(5, 10).first == 5
    assert user_limit(0, 0).first == 0


@pytest.mark.parametrize(
    ("available", "overdrawn_by", "is_open"),
    [(1, None, True), (1, "other", True), (0, None, False), (0, "other", False), (-9, "me", True)],
)
def test_one_request_may_go_below_zero(available: int, overdrawn_by: str | None, is_open: bool) -> None:
    assert Balance(user_limit(), available, overdrawn_by, START, START).open_to("me") is is_open


@pytest.mark.parametrize(
    ("limit", "available", "seconds"),
    [
        (user_limit(100), -500, 86400 - 3600),
        (user_limit(0, 100), 0, 86400 - 3600),
        (user_limit(0, 100), -99, 86400 - 3600),
        (user_limit(0, 100), -100, 2 * 86400 - 3600),
        (user_limit(0, 0), 0, None),
    ],
)
def test_it_is_told_when_to_come_again(limit: Limit, available: int, seconds: int | None) -> None:
    balance = Balance(limit, available, None, START, START)
    assert balance.seconds_until_open(START + timedelta(hours=1)) == seconds
    if seconds is not None:
        assert balance.seconds_until_open(START + 99 * DAY) == 1


def test_the_error_names_whose_tokens_are_spent() -> None:
    error = quota_exceeded(Balance(user_limit(), 0, None, START, START), ALICE, START)
    assert (error.status, error.response) == (429, "The quota has been exceeded")
    assert (error.cause, error.headers) == ("User alice has no available tokens", {"Retry-After": "86400"})
    organization = Payer("7", "alice", "organization")
    error = quota_exceeded(Balance(user_limit(0), 0, None, START, START), organization, START)
    assert (error.cause, error.headers) == ("Organization 7 has no available tokens", {})
    assert quota_exceeded(Balance(cluster_limit(), 0, None, START, START), ALICE, START).cause == (
        "Cluster has no available tokens"
    )


def test_what_answers_under_way_have_reserved_may_come_back_soon() -> None:
    balance = Balance(user_limit(), -40, "another", START, START + timedelta(hours=1))
    waits = [balance.seconds_until_open(START + timedelta(minutes=minutes)) for minutes in (60, 61)]
    assert waits == [5, 86400 - 3660]
    # Not later than the refill.
    shortly_before = START + DAY - timedelta(seconds=2)
    assert (
        Balance(user_limit(), -40, "another", START, shortly_before).seconds_until_open(shortly_before) == 2
    )
    # A limit that never refills gives nothing.
    assert Balance(user_limit(0), 0, None, START, START).seconds_until_open(START) is None
