"""Types of single keys: numbers, switches, paths, addresses and secrets."""

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from lightspeed.configuration.section import mistake


def _not_a_switch(value: Any) -> Any:
    if isinstance(value, bool):
        raise mistake("must be a number")
    return value


def _false_for_null(value: Any) -> Any:
    return False if value is None else value


def _path(value: Any) -> Any:
    if value == "":
        raise mistake("must not be empty")
    if isinstance(value, str) and "\0" in value:
        raise mistake("must not hold a null character")
    return os.path.expanduser(value) if isinstance(value, str) else value  # noqa: PTH111 - never raises


def path_trouble(path: Path) -> str | None:
    """Why it cannot be told what is at the path, such as a directory above that this user may not enter."""
    try:
        path.is_file()
    except OSError as error:
        return f"cannot be reached: {error.strerror}"
    return None


def _existing_file(path: Path) -> Path:
    if reason := path_trouble(path):
        raise mistake(reason)
    if not path.is_file():
        raise mistake("no such file")
    if not os.access(path, os.R_OK):
        raise mistake("the file cannot be read")
    return path


def _existing_directory(path: Path) -> Path:
    if reason := path_trouble(path):
        raise mistake(reason)
    if not path.is_dir():
        raise mistake("no such directory")
    return path


def is_web_address(value: str) -> bool:
    """Whether the text is an http or https URL with a host."""
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _web_address(value: str) -> str:
    if not is_web_address(value):
        raise mistake("must be an http or https URL")
    return value


# Bounds stand first, next to the type, or the schema would not show them.
PositiveInt = Annotated[int, Field(gt=0), BeforeValidator(_not_a_switch)]
NonNegativeInt = Annotated[int, Field(ge=0), BeforeValidator(_not_a_switch)]
Port = Annotated[int, Field(gt=0, le=65535), BeforeValidator(_not_a_switch)]
Ratio = Annotated[float, Field(ge=0, le=1), BeforeValidator(_not_a_switch)]
Switch = Annotated[bool, BeforeValidator(_false_for_null)]
"""A switch that may be null, which means off."""

Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
"""An http or https URL, kept as it is written."""

AnyPath = Annotated[Path, BeforeValidator(_path)]
"""A path that need not exist; a leading `~` is expanded, and a relative path starts at the working directory."""

ExistingFile = Annotated[Path, BeforeValidator(_path), AfterValidator(_existing_file)]
ExistingDirectory = Annotated[Path, BeforeValidator(_path), AfterValidator(_existing_directory)]
