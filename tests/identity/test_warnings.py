"""Warnings about authentication that lets in more than it seems to."""

from typing import Any

import pytest

from lightspeed.configuration.authentication import AuthenticationConfiguration
from lightspeed.identity.warnings import authentication_warnings

SAFE = {"url": "https://keys.example/jwks", "issuer": "https://i", "audience": "assistant"}


def warned(module: str, **settings: Any) -> list[str]:
    """The keys that the warnings are about."""
    configuration = AuthenticationConfiguration.model_validate({"module": module} | settings)
    lines = authentication_warnings(configuration)
    assert all("\n" not in line for line in lines)
    return [line.partition(": ")[0].removeprefix("authentication.") for line in lines]


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        (SAFE, []),
        (SAFE | {"issuer": None}, ["issuer"]),
        (SAFE | {"audience": None}, ["audience"]),
        ({"url": "http://keys.example"}, ["url", "issuer", "audience"]),
        (SAFE | {"algorithms": ["RS256", "HS256"]}, ["algorithms"]),
        (SAFE | {"require_expiry": False}, ["require_expiry"]),
        *(
            (SAFE | {"url": f"http://{host}/jwks"}, [])
            for host in ("localhost:80", "127.0.0.1", "127.1.2.3:5", "[::1]:8080", "keys.localhost")
        ),
        *(
            (SAFE | {"url": f"http://{host}/jwks"}, ["url"])
            for host in ("10.0.0.1", "localhost.example", "[::2]", "0.0.0.0")
        ),
    ],
)
def test_tokens(settings: dict[str, Any], keys: list[str]) -> None:
    assert warned("jwk-token", jwk_config=settings) == [f"jwk_config.{key}" for key in keys]


def test_a_block_that_is_not_in_use() -> None:
    assert warned("noop", jwk_config={"url": "http://keys.example"}, trusted_proxy_config={}) == []


@pytest.mark.parametrize("accounts", [None, []])
def test_proxies(accounts: Any) -> None:
    key = "trusted_proxy_config.allowed_service_accounts"
    assert warned("trusted-proxy", trusted_proxy_config={"allowed_service_accounts": accounts}) == [key]
    named = [{"namespace": "n", "name": "a"}]
    assert warned("trusted-proxy", trusted_proxy_config={"allowed_service_accounts": named}) == []
