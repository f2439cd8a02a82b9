"""Quotas of the real service: several workers, one balance."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.scripted_model import Reply, ScriptedModel, Usage
from tests.service.conftest import RunningService, serving
from tests.service.kept import Kept, in_postgresql, in_sqlite
from tests.service.test_workers import ready_workers, two_workers, wait_for

USER = "00000000-0000-0000-0000-000"
COST = 100  # tokens of one answer
BALANCE = 10 * COST


@dataclass(frozen=True)
class Limited:
    service: RunningService
    kept: Kept

    def balance(self, user: str) -> int:
        [[available]] = self.kept.rows(
            f"SELECT available FROM lightspeed_quotas WHERE limiter = 'tokens' AND subject_id = '{user}'"
        )
        return int(available)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def limited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    """Two workers, and ten answers a day for each user."""
    folder = tmp_path_factory.mktemp("limited")
    limiter = {
        "type": "user_limiter",
        "name": "tokens",
        "initial_quota": BALANCE,
        "quota_increase": 0,
        "period": "1 day",
    }
    if request.param == "sqlite":
        (folder / "state").mkdir()
        kept = in_sqlite(folder / "state")
    else:
        kept = in_postgresql(request.getfixturevalue("postgresql"))
    quotas = {**kept.place, "limiters": [limiter], "enable_token_history": True}
    with ScriptedModel() as model:
        model.default(Reply("A scripted answer.", usage=Usage(60, 40), delay_first=0.05))
        file = two_workers(folder, model, database=kept.place, quota_handlers=quotas)
        with serving(folder, "-c", str(file), state=folder / "state") as service:
            wait_for(lambda: len(ready_workers(service)) == 2, service)
            yield Limited(service, kept)


def ask(url: str, number: int) -> httpx.Response:
    """On a connection of its own, so that both workers get some; every other one as a stream."""
    path = "/v1/streaming_query" if number % 2 else "/v1/query"
    body: dict[str, Any] = {"query": f"Question {number}?", "generate_topic_summary": False}
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        return client.post(path, json=body)


def test_fifty_at_once_cannot_overdraw(limited: Limited) -> None:
    service = limited.service
    answered = 0
    for _ in range(3):
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda number: ask(service.url, number), range(50)))
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) <= {200, 429}, statuses
        # A stream that has begun tells in its last event that the tokens have run out.
        answered += sum(
            answer.status_code == 200 and "no available tokens" not in answer.text for answer in answers
        )
        assert limited.balance(USER) >= -COST
    while (answer := ask(service.url, 0)).status_code == 200:
        answered += 1
    # As many as were paid for, and none of them for free.
    assert limited.balance(USER) == BALANCE - answered * COST
    assert -COST < limited.balance(USER) <= 0
    assert answer.json()["detail"] == {
        "response": "The quota has been exceeded",
        "cause": "User 00000000-0000-0000-0000-000 has no available tokens",
    }
    assert 0 < int(answer.headers["Retry-After"]) <= 86_400
    [[sent, received]] = limited.kept.rows(
        f"SELECT input_tokens, output_tokens FROM lightspeed_token_usage WHERE user_id = '{USER}'"
    )
    assert (int(sent), int(received)) == (answered * 60, answered * 40)


def test_what_is_left_is_told_and_others_have_their_own(limited: Limited) -> None:
    client = limited.service.client

    def asked(path: str, user: str) -> httpx.Response:
        body = {"query": "And?", "generate_topic_summary": False}
        return client.post(path, params={"user_id": user}, json=body)

    assert asked("/v1/query", "ann").json()["available_quotas"] == {"UserQuotaLimiter": BALANCE - COST}
    text = asked("/v1/streaming_query", "ann").text
    assert f'"available_quotas": {{"UserQuotaLimiter": {BALANCE - 2 * COST}}}' in text
    assert asked("/v1/query", "bob").json()["available_quotas"] == {"UserQuotaLimiter": BALANCE - COST}


def test_topic_summaries_are_paid(limited: Limited) -> None:
    limited.service.client.post("/v1/query", params={"user_id": "eve"}, json={"query": "One?"})
    # The scripted topic costs 9 and 2.
    wait_for(lambda: limited.balance("eve") == BALANCE - COST - 11, limited.service)
