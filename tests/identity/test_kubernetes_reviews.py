"""Answers about tokens, kept for a while."""

import asyncio

import pytest

from lightspeed.errors import Unauthorized
from lightspeed.identity.kubernetes_reviews import MOST_KEPT, TokenReviews

pytestmark = pytest.mark.anyio


class Reviewer:
    """Lets in all tokens but `bad`, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.now = 0.0

    async def review(self, token: str) -> str:
        self.asked.append(token)
        await asyncio.sleep(0)
        if token == "bad":
            raise Unauthorized("no")
        return f"user of {token}"

    def reviews(self, kept_for: float) -> TokenReviews[str]:
        return TokenReviews(self.review, kept_for=kept_for, clock=lambda: self.now)


async def test_a_good_answer_is_kept_for_a_while() -> None:
    reviewer = Reviewer()
    reviews = reviewer.reviews(10)
    for reviewer.now in (0, 9.9, 10, 19.9, 20.1):
        assert await reviews("a") == "user of a"
    assert reviewer.asked == ["a", "a", "a"]


async def test_nothing_is_kept_for_no_seconds() -> None:
    reviewer = Reviewer()
    reviews = reviewer.reviews(0)
    await reviews("a")
    await reviews("a")
    assert reviewer.asked == ["a", "a"]


async def test_a_refusal_is_shared_but_not_kept() -> None:
    reviewer = Reviewer()
    reviews = reviewer.reviews(10)
    results = await asyncio.gather(*(reviews("bad") for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [Unauthorized] * 5
    assert reviewer.asked == ["bad"]
    with pytest.raises(Unauthorized):
        await reviews("bad")
    assert reviewer.asked == ["bad", "bad"]


async def test_different_tokens_have_different_answers() -> None:
    reviewer = Reviewer()
    reviews = reviewer.reviews(10)
    answers = await asyncio.gather(*(reviews(token) for token in "abab"))
    assert answers == ["user of a", "user of b", "user of a", "user of b"]
    assert sorted(reviewer.asked) == ["a", "b"]


async def test_only_so_many_are_kept() -> None:
    reviewer = Reviewer()
    reviews = reviewer.reviews(10)
    for number in range(MOST_KEPT + 1):
        await reviews(str(number))
    reviewer.asked.clear()
    await reviews(str(MOST_KEPT))
    await reviews("0")
    assert reviewer.asked == ["0"]


async def test_closing_ends_what_runs() -> None:
    async def never(token: str) -> str:
        await asyncio.Event().wait()
        return token

    reviews = TokenReviews(never, kept_for=10)
    waiting = asyncio.create_task(reviews("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await reviews.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
