"""Lengths of time as text, such as `1 day` or `2 hours 30 minutes`."""

import re
from datetime import timedelta

_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3_600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86_400),
    **dict.fromkeys(("mon", "mons", "month", "months"), 30 * 86_400),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), 365 * 86_400),
}
_PART = re.compile(r"\s*(?:(\d+):(\d\d)(?::(\d\d))?|\+?(\d+(?:\.\d+)?)\s*([a-z]+))\s*,?", re.ASCII)
_LONGEST = 100 * 365 * 86_400


def parse_period(text: str) -> timedelta:
    """The length that `text` tells: numbers with units, `HH:MM[:SS]`, or a bare number of seconds.

    A month counts 30 days and a year 365. Raises ValueError unless the length is above zero and at
    most 100 years.
    """
    text = text.strip().lower()
    if re.fullmatch(r"[0-9]{1,12}", text):
        text += " s"
    position, seconds = 0, 0.0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None or (part[5] and part[5] not in _SECONDS):
            raise ValueError("not a period")
        if part[5]:
            seconds += float(part[4]) * _SECONDS[part[5]]
        else:
            seconds += int(part[1]) * 3_600 + int(part[2]) * 60 + int(part[3] or 0)
        position = part.end()
    if not 0 < seconds <= _LONGEST:
        raise ValueError("not a usable length")
    return timedelta(seconds=seconds)
