"""What may name a user."""

import pytest

from lightspeed.identity.user_names import is_plain


@pytest.mark.parametrize(
    "text", ["", "ada", "Ada L.", "\xe9", "\U0001f600", "a" * 256, "system:admin", "a/b@c"]
)
def test_names(text: str) -> None:
    assert is_plain(text)


@pytest.mark.parametrize("text", ["a" * 257, "\x00", "a\n", "\t", "\x7f", "\x85", "\ud800", "\x1b[0m"])
def test_what_no_log_or_database_can_hold(text: str) -> None:
    assert not is_plain(text)
