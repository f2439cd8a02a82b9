from datetime import timedelta

import pytest

from lightspeed.configuration.period import parse_period


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("1 day", timedelta(days=1)),
        ("5 minutes", timedelta(minutes=5)),
        ("1 week", timedelta(weeks=1)),
        ("1 month", timedelta(days=30)),
        ("1 year", timedelta(days=365)),
        ("2 Hours 30 MINUTES", timedelta(hours=2, minutes=30)),
        ("1 day, 12 hours", timedelta(days=1.5)),
        ("1.5 days", timedelta(days=1.5)),
        ("+3 days", timedelta(days=3)),
        ("1 day 00:30:00", timedelta(days=1, minutes=30)),
        ("24:00", timedelta(days=1)),
        ("10s", timedelta(seconds=10)),
        ("60", timedelta(minutes=1)),
    ],
)
def test_lengths(text: str, length: timedelta) -> None:
    assert parse_period(text) == length


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "day",
        "soon",
        "-1 day",
        "0 days",
        "1 fortnight",
        "1 day ago",
        "1 day x",
        "1 day; DROP TABLE x",
        "900 years",
        "9" * 13,
    ],
)
def test_texts_that_are_no_usable_length(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_period(text)
