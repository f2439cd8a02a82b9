from typing import Any

import pytest
from pydantic import ValidationError

from lightspeed.configuration.data_collector import DataCollector

ENABLED: dict[str, Any] = {
    "enabled": True,
    "ingress_server_url": "https://ingress.example.com/api/ingress/v1/upload",
    "ingress_content_service_name": "lightspeed-stack",
}


def problems(section: dict[str, Any]) -> list[tuple[tuple[int | str, ...], str]]:
    with pytest.raises(ValidationError) as raised:
        DataCollector.model_validate(section)
    return [(error["loc"], error["msg"]) for error in raised.value.errors()]


def test_defaults() -> None:
    assert DataCollector().model_dump() == {
        "enabled": False,
        "ingress_server_url": None,
        "ingress_server_auth_token": None,
        "ingress_content_service_name": None,
        "collection_interval": 7200,
        "cleanup_after_send": True,
        "connection_timeout": 30,
    }


def test_a_token_is_not_needed_and_never_shown() -> None:
    assert DataCollector.model_validate(ENABLED).ingress_server_auth_token is None
    section = DataCollector.model_validate(ENABLED | {"ingress_server_auth_token": "hidden"})
    assert section.ingress_server_auth_token
    assert section.ingress_server_auth_token.get_secret_value() == "hidden"
    assert "hidden" not in f"{section!r}{section.model_dump_json()}"


def test_what_is_enabled_needs_an_address_and_a_name() -> None:
    text = "is required when `enabled` is true"
    assert problems({"enabled": True}) == [
        (("ingress_server_url",), text),
        (("ingress_content_service_name",), text),
    ]
    assert problems(ENABLED | {"ingress_content_service_name": ""}) == [
        (("ingress_content_service_name",), text)
    ]


@pytest.mark.parametrize("name", ["a", "lightspeed", "lightspeed-stack-2", "x" * 64])
def test_names_of_a_service(name: str) -> None:
    DataCollector.model_validate(ENABLED | {"ingress_content_service_name": name})


@pytest.mark.parametrize("name", ["A", "a b", "a/b", "-a", "a-", "a.b", "ä", "a\n", "x" * 65])
def test_names_that_do_not_fit_into_a_media_type(name: str) -> None:
    [(key, text)] = problems(ENABLED | {"ingress_content_service_name": name})
    assert key == ("ingress_content_service_name",)
    assert "lower case letters" in text


@pytest.mark.parametrize("token", ["", "a b", "secret\n", "sécret", "a\x00"])
def test_tokens_that_no_header_can_hold(token: str) -> None:
    [(key, text)] = problems(ENABLED | {"ingress_server_auth_token": token})
    assert key == ("ingress_server_auth_token",)
    assert not token or token not in text


@pytest.mark.parametrize(
    "change",
    [
        {"ingress_server_url": "ingress.example.com"},
        {"ingress_server_url": "ftp://ingress.example.com"},
        {"collection_interval": 0},
        {"connection_timeout": -1},
        {"connection_timeout": True},
        {"unknown": 1},
    ],
)
def test_values_that_are_refused(change: dict[str, Any]) -> None:
    [(key, _)] = problems(ENABLED | change)
    assert key == tuple(change)
