"""What may name a user in logs, databases and messages."""

import re

LONGEST = 256
"""Characters of the longest id or name of a user."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_plain(text: str) -> bool:
    """Whether the text is short enough and holds nothing that a log or a database cannot hold; it may be empty."""
    return len(text) <= LONGEST and not _CONTROL.search(text)
