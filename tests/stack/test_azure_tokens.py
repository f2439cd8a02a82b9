"""Tokens of Microsoft Entra ID, from a token endpoint over real HTTP."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import to_thread

from lightspeed.errors import ProviderUnavailable
from lightspeed.stack.azure_authority import AzureAuthority
from lightspeed.stack.azure_tokens import AzureTokens
from tests.clock import Clock
from tests.stack.entra_id import CLIENT, SECRET, SECRETS, TENANT, EntraId

pytestmark = pytest.mark.anyio

HOUR = 3600.0


@pytest.fixture
def entra_id() -> Iterator[EntraId]:
    with EntraId() as entra_id:
        yield entra_id


@asynccontextmanager
async def opened(entra_id: EntraId, clock: Clock | None = None) -> AsyncIterator[AzureTokens]:
    authority = AzureAuthority(entra_id.configuration())
    tokens = AzureTokens(authority, clock=clock) if clock is not None else AzureTokens(authority)
    try:
        yield tokens
    finally:
        await tokens.close()


async def test_a_token_is_asked_for_by_client_credentials(entra_id: EntraId) -> None:
    async with opened(entra_id) as tokens:
        assert tokens.at_hand is None
        assert await tokens.token() == "token-1"
        assert tokens.at_hand == "token-1"
    assert entra_id.paths == [f"/{TENANT}/oauth2/v2.0/token"]
    assert entra_id.forms == [
        {
            "grant_type": ["client_credentials"],
            "client_id": [CLIENT],
            "client_secret": [SECRET],
            "scope": ["https://cognitiveservices.azure.com/.default"],
        }
    ]


async def test_twenty_at_once_cause_one_fetch(entra_id: EntraId) -> None:
    entra_id.held.clear()
    async with opened(entra_id) as tokens:
        waiting = [asyncio.create_task(tokens.token()) for _ in range(20)]
        await to_thread.run_sync(lambda: entra_id.arrived.acquire(timeout=30))
        waiting[0].cancel()
        entra_id.held.set()
        assert set(await asyncio.gather(*waiting[1:])) == {"token-1"}
    assert entra_id.given == 1


async def test_a_token_is_used_until_shortly_before_its_end(entra_id: EntraId) -> None:
    clock = Clock()
    async with opened(entra_id, clock) as tokens:
        found = []
        for seconds in (0, HOUR - 31, HOUR - 29, HOUR, 2 * HOUR):
            clock.now = 1000 + seconds
            found.append(await tokens.token())
    assert found == ["token-1", "token-1", "token-2", "token-2", "token-3"]


async def test_a_token_is_renewed_in_the_background(entra_id: EntraId) -> None:
    """Nobody asks, and yet the next one is fetched after half the life of a short-lived one."""
    entra_id.lifetime = 1
    async with opened(entra_id) as tokens:
        assert await tokens.token() == "token-1"
        entra_id.lifetime = HOUR
        await to_thread.run_sync(lambda: [entra_id.arrived.acquire(timeout=30) for _ in range(2)])
        while tokens.at_hand != "token-2":  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        assert await tokens.token() == "token-2"
    assert entra_id.given == 2


async def test_an_old_token_is_kept_while_it_is_valid(
    entra_id: EntraId, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clock = Clock()
    async with opened(entra_id, clock) as tokens:
        assert await tokens.token() == "token-1"
        entra_id.failure = (503, "")
        clock.now += HOUR - 10
        assert await tokens.token() == "token-1"
        clock.now += 11
        with pytest.raises(ProviderUnavailable):
            await tokens.token()
        assert tokens.at_hand is None
        entra_id.failure = None
        clock.now += 2
        assert await tokens.token() == "token-4"
    for secret in (*SECRETS, "token-1", "token-4"):
        assert secret not in caplog.text
    assert "status 503" in caplog.text


async def test_an_authority_that_goes_away_and_comes_back(entra_id: EntraId) -> None:
    clock = Clock()
    await to_thread.run_sync(entra_id.__exit__)
    async with opened(entra_id, clock) as tokens:
        with pytest.raises(ProviderUnavailable) as raised:
            await tokens.token()
        assert raised.value.cause == "No token for Azure from Microsoft Entra ID: it cannot be reached."
        assert "Retry-After" in raised.value.headers
        entra_id.__enter__()
        with pytest.raises(ProviderUnavailable):  # at once it is not asked again
            await tokens.token()
        clock.now += 2
        assert await tokens.token() == "token-1"


REFUSAL = {
    "error": "invalid_client",
    "error_description": f"AADSTS7000215: Invalid client secret provided for app '{CLIENT}' in '{TENANT}'.",
}


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        ((401, REFUSAL), "it refuses a token (status 401, invalid_client, AADSTS7000215)."),
        ((400, {"error": CLIENT, "error_description": SECRET}), "it refuses a token (status 400)."),
        ((500, "<html>"), "it refuses a token (status 500)."),
        ((302, ""), "it refuses a token (status 302)."),
        ((200, "no json"), "its answer holds no usable token."),
        ((200, "[]"), "its answer holds no usable token."),
        ((200, {"access_token": "t"}), "its answer holds no usable token."),
        ((200, {"access_token": "", "expires_in": 60}), "its answer holds no usable token."),
        ((200, {"access_token": "tökén", "expires_in": 60}), "its answer holds no usable token."),
        ((200, {"access_token": "a\nb", "expires_in": 60}), "its answer holds no usable token."),
        ((200, {"access_token": "t", "expires_in": 0}), "its answer holds no usable token."),
        ((200, {"access_token": "t", "expires_in": "soon"}), "its answer holds no usable token."),
        ((200, '{"access_token": "t", "expires_in": NaN}'), "its answer holds no usable token."),
    ],
)
async def test_an_answer_that_is_no_token(
    entra_id: EntraId, failure: tuple[int, Any], cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    entra_id.failure = failure
    entra_id.headers = {"Location": "http://127.0.0.1:1/elsewhere"}
    async with opened(entra_id) as tokens:
        with pytest.raises(ProviderUnavailable) as raised:
            await tokens.token()
    assert raised.value.cause == f"No token for Azure from Microsoft Entra ID: {cause}"
    for secret in SECRETS:
        assert secret not in caplog.text + str(raised.value)


async def test_how_long_to_wait_is_told(entra_id: EntraId) -> None:
    entra_id.failure = (429, "")
    entra_id.headers = {"Retry-After": "17"}
    async with opened(entra_id) as tokens:
        with pytest.raises(ProviderUnavailable) as raised:
            await tokens.token()
    assert raised.value.headers == {"Retry-After": "17"}


async def test_a_lifetime_may_be_text(entra_id: EntraId) -> None:
    entra_id.lifetime = "3599"
    async with opened(entra_id) as tokens:
        assert await tokens.token() == "token-1"
