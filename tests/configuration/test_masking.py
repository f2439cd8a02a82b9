"""What of a configuration may be shown."""

from typing import Any

import pytest

from lightspeed.configuration.masking import (
    MASK,
    hidden,
    is_secret,
    secrets,
    without_credentials,
    without_secrets,
)


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "key", "X-Auth-Token", "dbPassword", "aws_secret_access_key", "auth_credential", "pwd",
     "Authorization", "client_secret", "token", "api_tokens", "aws_access_key_id", "cookie", "basic_auth"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name, "value")


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_tokens", 5), ("tokenizer", "x"), ("keyword", "x"), ("base_url", "x"), ("monkey", "x"), ("author", "x"),
     ("headers", ["X-Trace"])],
)  # fmt: skip
def test_names_of_other_things(name: str, value: Any) -> None:
    assert not is_secret(name, value)


def test_secrets_are_masked_wherever_they_stand_and_nothing_else_is() -> None:
    shown = {
        "provider_id": "a",
        "config": {
            "api_key": "MARKED-1",
            "port": 5432,
            "password": 98765432,
            "empty_token": "",
            "no_token": None,
            "refresh_token": False,
            "max_tokens": 200,
            "network": {
                "headers": {"X-Anything": "MARKED-2"},
                "proxy": {"https": "http://u:MARKED-3@proxy/"},
            },
            "hosts": [
                "http://MARKED-4@h:1/?a=1&access_token=MARKED-5&b=2",
                {"secret": {"inner": "MARKED-6"}},
            ],
            "dsn": "host=db user=u password=MARKED-7 dbname=d",
        },
    }
    assert without_secrets(shown) == {
        "provider_id": "a",
        "config": {
            "api_key": MASK,
            "port": 5432,
            "password": MASK,
            "empty_token": "",
            "no_token": None,
            "refresh_token": False,
            "max_tokens": 200,
            "network": {"headers": {"X-Anything": MASK}, "proxy": {"https": f"http://{MASK}@proxy/"}},
            "hosts": [f"http://{MASK}@h:1/?a=1&access_token={MASK}&b=2", {"secret": {"inner": MASK}}],
            "dsn": f"host=db user=u password={MASK} dbname=d",
        },
    }
    found = set(secrets(shown))
    assert {f"MARKED-{number}" for number in range(1, 8)} | {"98765432"} <= found
    assert found.isdisjoint({"a", "db", "d", "5432", "200"})


def test_urls_keep_what_is_no_secret() -> None:
    assert (
        without_credentials("https://h/x?key=a;sig=b&page=2#f")
        == f"https://h/x?key={MASK};sig={MASK}&page=2#f"
    )
    assert without_credentials("a text with token=abc") == "a text with token=abc"


def test_secrets_are_taken_out_of_texts_the_longest_first() -> None:
    kept = {"secret-1", "secret-12", "db"}
    assert hidden("secret-12 at db, not secret-1", kept) == f"{MASK} at db, not {MASK}"
