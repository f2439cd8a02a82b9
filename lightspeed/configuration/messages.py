"""Validation errors as lines that people can act on. No line holds a value of the file."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lightspeed.configuration.section import KeyPath

_PLAIN = {
    "missing": "is required",
    "string_type": "must be text; put the value in quotes",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a section with keys",
    "path_type": "must be a path",
    "url_type": "must be an http or https URL",
    "url_parsing": "must be an http or https URL",
    "url_scheme": "must be an http or https URL",
    "url_too_long": "must be an http or https URL",
    "invalid_key": "must have a key that is text",
}
_BOUNDS = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


def problems(
    error: ValidationError, model: type[BaseModel], kept: Mapping[KeyPath, tuple[int, ...]]
) -> Iterator[tuple[KeyPath, str]]:
    """The path of the key and what is wrong with it, for each error.

    `kept` gives the positions in the file of the entries of lists that lost some, as
    `substitution.Substitution` has it.
    """
    for details in error.errors(include_url=False, include_context=True, include_input=True):
        path, parent = _place(details["loc"], model, unknown=details["type"] == "extra_forbidden")
        yield _written(path, kept), _text(details, parent, model)


def _text(details: ErrorDetails, parent: type[BaseModel] | None, root: type[BaseModel]) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(str(details["loc"][-1]), parent or root, root)
    if details["loc"] and details["loc"][-1] == "[key]":
        return "must have a key that is text and not empty"
    if kind == "mistake":
        return str(context["text"])
    if details["input"] is None and kind != "missing":
        advice = "; write `{}` for a section without keys" if kind == "model_type" else ""
        return f"must not be null{advice}"
    if kind in _BOUNDS:
        return _BOUNDS[kind].format_map(context).removesuffix(".0")
    if kind in {"literal_error", "enum"}:
        return _unknown_word(details["input"], str(context["expected"]))
    return _PLAIN.get(kind, "is not valid")


def _unknown_word(word: Any, expected: str) -> str:
    known = re.findall(r"'([^']*)'", expected)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.75) if isinstance(word, str) else []
    return f"is unknown; did you mean `{close[0]}`?" if close else f"must be {expected}".replace("'", "`")


def _unknown_key(key: str, parent: type[BaseModel], root: type[BaseModel]) -> str:
    text = f"unknown key `{key}`"
    close = difflib.get_close_matches(key, parent.model_fields, n=1)
    if close:
        return f"{text}; did you mean `{close[0]}`?"
    for name, field in root.model_fields.items():
        section = section_of(field.annotation)
        if parent is root and section and key in section.model_fields:
            return f"{text}; did you mean `{name}.{key}`?"
    return text


def _place(
    location: tuple[int | str, ...], root: type[BaseModel], *, unknown: bool
) -> tuple[KeyPath, type[BaseModel] | None]:
    """The path of keys in the file, and the model that holds the last one.

    A location names more than keys: also which branch of a union was tried. An unknown key ends the path
    of its section, since its name is part of the text.
    """
    path: list[str | int] = []
    annotation: Any = root
    holder: type[BaseModel] | None = None
    for part in location[:-1] if unknown else location:
        model = section_of(annotation)
        if isinstance(part, str) and model and part in model.model_fields:
            holder, annotation = model, model.model_fields[part].annotation
        elif part == "[key]" or (model and isinstance(part, str)):
            continue
        path.append(part)
    return tuple(path), section_of(annotation) if unknown else holder


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a type holds, also as an entry of a list or as one of several types."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_of(part))), None)


def _written(path: KeyPath, kept: Mapping[KeyPath, tuple[int, ...]]) -> KeyPath:
    written: KeyPath = ()
    for part in path:
        positions = kept.get(written)
        written += (positions[part] if isinstance(part, int) and positions else part,)
    return written
