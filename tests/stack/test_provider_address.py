"""Where the server of a provider is."""

from typing import Any

import pytest

from lightspeed.stack.provider_address import address


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"host": "db", "port": 5432}, ("db", 5432)),
        ({"host": "db", "port": "5432"}, ("db", 5432)),
        ({"host": "db", "port": None}, None),
        ({"host": "/run/postgresql", "port": 5432}, None),
        ({"url": "http://h:8000/a"}, ("h", 8000)),
        ({"uri": "https://u:p@h/a"}, ("h", 443)),
        ({"url": "postgresql+psycopg2://u:p@h/d"}, ("h", 5432)),
        ({"base_url": "http://[::1]:1/v1"}, ("::1", 1)),
        ({"url": "http://h:port/"}, None),
        ({"url": "strange://h"}, None),
        ({"host": "http://h:1", "port": 1}, ("h", 1)),
        ({"path": "/x"}, None),
        ({}, None),
    ],
)
def test_address(settings: dict[str, Any], place: tuple[str, int] | None) -> None:
    assert address(settings) == place
