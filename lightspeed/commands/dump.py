"""`lightspeed -d` and `lightspeed -s`: the configuration, and the schema of its file, as JSON files."""

import json
from pathlib import Path
from typing import Any

from lightspeed.configuration.loading import masked
from lightspeed.configuration.root import Configuration
from lightspeed.configuration.schema import openapi_schema
from lightspeed.errors import ConfigurationError
from lightspeed.storage.files import write_atomically

CONFIGURATION_FILE = "configuration.json"
SCHEMA_FILE = "schema.json"


def dump_configuration(configuration: Configuration, folder: Path) -> int:
    """Write the configuration in force, without secrets, to `configuration.json`. Returns 0.

    Raises ConfigurationError when the file cannot be written.
    """
    return _write(folder / CONFIGURATION_FILE, masked(configuration))


def dump_schema(folder: Path) -> int:
    """Write an OpenAPI document that describes the configuration file to `schema.json`. Returns 0.

    Raises ConfigurationError when the file cannot be written.
    """
    return _write(folder / SCHEMA_FILE, openapi_schema())


def _write(path: Path, content: dict[str, Any]) -> int:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None
    return 0
