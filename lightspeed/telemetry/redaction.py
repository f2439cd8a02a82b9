"""Masking what looks like a secret, as a last line of defence."""

import re

MASK = "**********"

_HINTS = (
    "bearer",
    "splunk",
    "key",
    "token",
    "secret",
    "passw",
    "authorization",
    "cookie",
    "://",
    "sk-",
    "eyj",
)
_TOKEN_HINTS = ("ghp", "gho", "ghu", "ghs", "ghr", "glpat", "hf_", "xox", "akia")

# Every start is anchored and every prefix bounded, so that a long hostile line costs linear time.
_SECRET = re.compile(
    r"(?P<scheme>\b(?:bearer|splunk)\s+)(?=\S{0,400}\d|\S{20})[\w.~+/=-]{8,}"
    r"|(?P<name>(?<![\w-])(?:[\w-]{0,40}?(?:api[_-]?key|(?:access|refresh|id|auth)[_-]?token"
    r"|client[_-]?secret|password|passwd)|(?:proxy-)?authorization|secret|token|(?:set-)?cookie)"
    r"\\?[\"']?\s*(?:[:=]|,(?=\s*b?[\"']))\s*(?:b?\\?[\"'])?(?:(?:bearer|basic|splunk)\s+)?)"
    r"(?:(?<=[\"'])[^\"'\n\\]+|[^\s\"',;&)}\]\\]+)"
    r"|(?P<url>(?<![\w+.-])[a-z][a-z0-9+.-]{0,20}://)[^\s/@:\"']*:[^\s/@\"']+(?=@)"
    r"|(?<![\w-])sk-[\w-]{12,}"
    r"|(?<![\w-])(?:gh[pousr]|glpat|hf|xox[abp])[_-][\w-]{16,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """`text` with tokens, keys, passwords and URL credentials masked."""
    lowered = text.lower()
    if not any(hint in lowered for hint in (*_HINTS, *_TOKEN_HINTS)):
        return text
    return _SECRET.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    return f"{found['scheme'] or found['name'] or found['url'] or ''}{MASK}"
