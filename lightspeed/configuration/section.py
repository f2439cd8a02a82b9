"""What every section of the configuration file has in common."""

from collections.abc import Iterable, Iterator
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

type KeyPath = tuple[str | int, ...]


class Section(BaseModel):
    """A frozen section that refuses unknown keys.

    `problems` yields what is wrong between its keys: the path of a key below this section, and the
    mistake in plain words without the given value. Each one becomes an error of its own.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        yield from ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse(self.problems())
        return self


def refuse(problems: Iterable[tuple[KeyPath, str]]) -> None:
    """Raise one validation error that holds all problems, if there are any."""
    details = [InitErrorDetails(type=mistake(text), loc=path, input=None) for path, text in problems]
    if details:
        raise ValidationError.from_exception_data("configuration", details, hide_input=True)


def mistake(text: str) -> PydanticCustomError:
    """An error of a single key, in plain words without the given value."""
    return PydanticCustomError("mistake", "{text}", {"text": text})


def repeated(values: list[str]) -> Iterator[int]:
    """The positions of the values that occurred before."""
    seen: set[str] = set()
    for position, value in enumerate(values):
        if value in seen:
            yield position
        seen.add(value)
