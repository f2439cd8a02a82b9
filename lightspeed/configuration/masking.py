"""What of a configuration may be shown."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MASK = "**********"
_SHORTEST_SECRET = 6  # characters
_SENSITIVE = r"key|token|password|passwd|passphrase|pwd|secret|credential|authorization|cookie"
_SECRET_NAME = re.compile(
    rf"(?:^|_)(?:{_SENSITIVE}|auth)s?$|secret|passw|passphrase|api_?key|access_?key|private_?key|credential|authorization",
)
_COUNT_OF_TOKENS = re.compile(r"(?:^|_)tokens$")
_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s.-]+")
_HEADERS = re.compile(r"(?:^|_)headers$")
# As in `host=db password=x` for PostgreSQL.
_ASSIGNED_SECRET = re.compile(
    r"(?<![\w?&;])((?:password|passwd|pwd|secret|token|api_?key)=)([^\s;&]+)", re.IGNORECASE
)
_USER_INFO = re.compile(r"(?<=://)[^\s/?#]*(?=@)")
_SECRET_PARAMETER = re.compile(
    rf"([?&;](?:[^=&;#\s]*(?:{_SENSITIVE}|passw|signature)[^=&;#\s]*|auth|sig|pw|pass)=)([^&;#\s]+)",
    re.IGNORECASE,
)


def is_secret(name: str, value: Any) -> bool:
    """Whether a key of this name holds a secret: `api_key`, `dbPassword`, `X-Auth-Token`, but not `max_tokens: 5`."""
    words = _WORD_BOUNDARY.sub("_", name).lower()
    if isinstance(value, int | float) and _COUNT_OF_TOKENS.search(words):
        return False
    if isinstance(value, Mapping) and _HEADERS.search(words):
        return True
    return _SECRET_NAME.search(words) is not None


def without_secrets(value: Any) -> Any:
    """A copy of JSON values in which keys with secret names, headers, and credentials in URLs are masked."""
    if isinstance(value, Mapping):
        return {
            key: _masked(item) if is_secret(str(key), item) else without_secrets(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    if isinstance(value, str):
        return _ASSIGNED_SECRET.sub(rf"\g<1>{MASK}", without_credentials(value))
    return value


def secrets(value: Any) -> Iterator[str]:
    """The secrets that `without_secrets` masks."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _scalars(item) if is_secret(str(name), item) else secrets(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secrets(item)
    elif isinstance(value, str):
        yield from (secret for _, secret in _ASSIGNED_SECRET.findall(value))
        for user_info in _USER_INFO.findall(value):
            yield user_info
            yield user_info.partition(":")[2]
        for _, parameter in _SECRET_PARAMETER.findall(value):
            yield parameter


def hidden(text: str, kept: Iterable[str]) -> str:
    """`text` without the given secrets. Very short ones stay: hiding them would leave nothing of a text."""
    for secret in sorted(kept, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, MASK)
    return text


def without_credentials(value: Any) -> Any:
    """The same with user names and passwords in URLs masked, and URL parameters that look secret."""
    if isinstance(value, Mapping):
        return {key: without_credentials(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_credentials(item) for item in value]
    if isinstance(value, str) and "://" in value:
        return _SECRET_PARAMETER.sub(rf"\g<1>{MASK}", _USER_INFO.sub(MASK, value))
    return value


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return value if value is None or value == "" or isinstance(value, bool) else MASK


def _scalars(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _scalars(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _scalars(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
