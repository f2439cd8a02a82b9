"""Values of a run configuration in the types that their keys want."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from lightspeed.configuration.substitution import DecimalNumber, WholeNumber

_TEXT_WANTED = frozenset({"string_type", "url_type", "path_type", "literal_error", "enum"})


def with_texts[T](
    validate: Callable[[Mapping[str, Any]], T], values: Mapping[str, Any]
) -> tuple[T, Mapping[str, Any]]:
    """What `validate` makes of the values, and the values with which it succeeded.

    Numbers that variables gave become the texts that they were wherever a text is wanted: a key or an id may
    consist of digits. Raises what `validate` raises when that does not help.
    """
    try:
        return validate(values), values
    except ValidationError as error:
        places = [
            details["loc"]
            for details in error.errors(include_url=False, include_context=False)
            if details["type"] in _TEXT_WANTED and isinstance(details["input"], WholeNumber | DecimalNumber)
        ]
        if not places:
            raise
        # Locations name branches of unions too, so the number is looked for, not addressed.
        restored = _restored(values, {part for place in places for part in place[-1:]})
        return validate(restored), restored


def unknown_keys(model: type[BaseModel], values: Mapping[str, Any]) -> Iterator[str]:
    """The keys that the model would pass over without a word."""
    if model.model_config.get("extra") not in (None, "ignore"):
        return
    known = set(model.model_fields)
    known |= {field.alias for field in model.model_fields.values() if field.alias}
    yield from (key for key in values if key not in known)


def _restored(value: Any, keys: set[str | int], key: str | int | None = None) -> Any:
    if isinstance(value, Mapping):
        return {name: _restored(item, keys, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_restored(item, keys, position) for position, item in enumerate(value)]
    return value.text if key in keys and isinstance(value, WholeNumber | DecimalNumber) else value
