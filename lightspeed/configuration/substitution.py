"""References to environment variables in configuration files.

${env.NAME}         the value; an error if it is unset or empty
${env.NAME:=text}   the value, or `text` if it is unset or empty
${env.NAME:+text}   `text` if the value is set and not empty, else nothing
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightspeed.configuration.section import KeyPath
from lightspeed.errors import ConfigurationError

_REFERENCE = re.compile(r"\$\{env\.([A-Z0-9_]+)(?::([=+])([^}]*))?\}")
_SECRET_KEY = re.compile(
    r"(?:^|[_-])(?:api_?key|access_key|secret_key|token|password|passphrase|secret)$", re.IGNORECASE
)
_DISABLED = "__disabled__"
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_IDENTIFIERS = frozenset(
    {"vector_store_id", "model_id", "shield_id", "dataset_id", "scoring_fn_id", "benchmark_id"}
)
_LIST_IDENTIFIERS: Mapping[KeyPath, str] = {("byok_rag",): "rag_id", ("mcp_servers",): "name"}


@dataclass(frozen=True, slots=True)
class Substitution:
    """A tree whose references are replaced.

    `missing` maps the path of each text that could not be replaced, and still stands in the tree, to
    the names of its unset variables. `kept` maps the path of each list that lost entries to the
    former positions of those that are left. Paths are those of the tree given, before entries went.
    """

    tree: Any
    missing: Mapping[KeyPath, tuple[str, ...]]
    kept: Mapping[KeyPath, tuple[int, ...]]


class WholeNumber(int):
    """A number that a variable gave, with its text: the key may turn out to want text."""

    text: str


class DecimalNumber(float):
    """As `WholeNumber`, with a fraction or an exponent."""

    text: str


def substitute(tree: Any, environment: Mapping[str, str], *, retype: bool = False) -> Any:
    """The tree with all references replaced.

    A replaced text stays a text, and an empty one becomes null. `retype` turns replaced texts that
    look like a switch or a number into one, as Llama Stack does for its run.yaml, but never below a
    key that names a secret. Numbers made so remember their text. List entries whose `provider_id` becomes
    `__disabled__`, or whose identifier becomes empty, are dropped, and in `providers` those whose
    `provider_id` becomes empty.

    Raises ConfigurationError with one problem for each unset variable: the key's path and the name.
    """
    result = resolve(tree, environment, retype=retype)
    if result.missing:
        raise ConfigurationError(
            [f"{key_path(path)}: {unset(name)}" for path, names in result.missing.items() for name in names]
        )
    return result.tree


def resolve(tree: Any, environment: Mapping[str, str], *, retype: bool = False) -> Substitution:
    """As `substitute`, but missing variables are returned, not raised."""
    resolver = _Resolver(environment, retype)
    replaced = resolver.value(tree, ())
    return Substitution(replaced, resolver.missing, resolver.kept)


def unset(name: str) -> str:
    return f"the environment variable {name} is not set or empty"


def key_path(path: KeyPath) -> str:
    """The path as people write it: `byok_rag[0].db_path`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass
class _Resolver:
    environment: Mapping[str, str]
    retype: bool
    missing: dict[KeyPath, tuple[str, ...]] = field(default_factory=dict)
    kept: dict[KeyPath, tuple[int, ...]] = field(default_factory=dict)

    def value(self, value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return self._mapping(value, path)
        if isinstance(value, list):
            return self._list(value, path)
        return self._text(value, path) if isinstance(value, str) else value

    def _mapping(self, value: dict[Any, Any], path: KeyPath) -> dict[Any, Any]:
        # An empty type switches the stack's authentication off, whatever its other keys refer to.
        provider = value.get("provider_config") if path == ("server", "auth") else None
        if isinstance(provider, dict) and "type" in provider and not self._peek(provider["type"]):
            value = value | {"provider_config": None}
        return {key: self.value(item, (*path, str(key))) for key, item in value.items()}

    def _list(self, values: list[Any], path: KeyPath) -> list[Any]:
        positions = [position for position, value in enumerate(values) if not self._dropped(value, path)]
        if len(positions) < len(values):
            self.kept[path] = tuple(positions)
        return [self.value(values[position], (*path, position)) for position in positions]

    def _dropped(self, entry: Any, path: KeyPath) -> bool:
        if not isinstance(entry, dict):
            return False
        provider = entry.get("provider_id")
        if self._peek(provider) == _DISABLED:
            return True
        if provider and path[:1] == ("providers",) and self._peek(provider) is None:
            # Switched off, so what its settings refer to does not matter.
            return True
        if any(name in entry and self._peek(entry[name]) in (None, "") for name in _IDENTIFIERS):
            return True
        # A literal empty identifier of our own sections is a mistake, which validation reports.
        own = entry.get(_LIST_IDENTIFIERS.get(path, ""))
        return isinstance(own, str) and own != "" and self._peek(own) is None

    def _peek(self, value: Any) -> Any:
        """The value replaced, or unchanged if a variable is missing, without a note of it."""
        return _Resolver(self.environment, retype=False).value(value, ())

    def _text(self, text: str, path: KeyPath) -> Any:
        if "${env." not in text:
            return text
        secret = any(isinstance(part, str) and _SECRET_KEY.search(part) for part in path[-1:])
        unknown: list[str] = []

        def replacement(match: re.Match[str]) -> str:
            name, operator, alternative = match.groups()
            value = self.environment.get(name, "")
            if operator == "+":
                value = alternative if value else ""
            elif not value and operator == "=":
                value = alternative
            elif not value:
                unknown.append(name)
            return value if secret else self._expand(value)

        replaced = _REFERENCE.sub(replacement, text)
        if unknown:
            self.missing[path] = tuple(dict.fromkeys(unknown))
            return text
        if replaced == text:
            return text
        if replaced == "":
            return None
        return _retyped(replaced) if self.retype and not secret else replaced

    def _expand(self, value: str) -> str:
        home = self.environment.get("HOME")
        if home and (value == "~" or value.startswith("~/")):
            return home.rstrip("/") + value[1:]
        return os.path.expanduser(value) if value.startswith("~") else value  # noqa: PTH111 - never raises


def _retyped(text: str) -> Any:
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if not _NUMBER.fullmatch(text):
        return text
    number: WholeNumber | DecimalNumber
    try:
        number = WholeNumber(text)
    except ValueError:
        number = DecimalNumber(text)
    number.text = text
    return number
