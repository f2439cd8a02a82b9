"""From a file to a configuration, and from a configuration to a dump without secrets."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lightspeed.configuration import messages
from lightspeed.configuration.document import read_document
from lightspeed.configuration.root import Configuration
from lightspeed.configuration.substitution import key_path, resolve, unset
from lightspeed.errors import ConfigurationError

MASK = "**********"
_HEADER_WORDS = frozenset({"kubernetes", "client", "oauth"})
_USER_INFO = re.compile(r"(?<=://)[^\s/?#]*(?=@)")
_SECRET_PARAMETER = re.compile(
    r"([?&][^=&#\s]*(?:key|token|password|secret)[^=&#\s]*=)[^&#\s]+", re.IGNORECASE
)


def load_configuration(path: Path, environment: Mapping[str, str]) -> Configuration:
    """Read, substitute and validate the file.

    Relative paths in the file start at the working directory; that of the stack's run.yaml may also start
    at the directory of the file. Raises ConfigurationError with one line
    for each mistake: the file, the key and what is wrong, never the value.
    """
    try:
        tree = read_document(path)
    except ConfigurationError as error:
        raise ConfigurationError([f"{path}: {problem}" for problem in error.problems]) from None
    if tree is None:
        raise ConfigurationError(f"{path}: is empty")
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{path}: must be a mapping of sections")
    return _validated(path, tree, environment)


def _validated(path: Path, tree: dict[str, Any], environment: Mapping[str, str]) -> Configuration:
    substitution = resolve(tree, environment)
    found = [(key, unset(name)) for key, names in substitution.missing.items() for name in names]
    configuration = None
    try:
        tree = _with_database(_with_run_file(substitution.tree, path.parent), environment)
        configuration = Configuration.model_validate(tree)
    except ValidationError as error:
        found += [
            (key, text)
            for key, text in messages.problems(error, Configuration, substitution.kept)
            if key not in substitution.missing
        ]
    if configuration is None or found:
        lines = [f"{path}: {key_path(key)}: {text}" if key else f"{path}: {text}" for key, text in found]
        raise ConfigurationError(lines) from None
    return configuration


def _with_run_file(tree: dict[str, Any], directory: Path) -> dict[str, Any]:
    key = "library_client_config_path"
    stack = tree.get("llama_stack")
    given = stack.get(key) if isinstance(stack, dict) else None
    if not isinstance(given, str) or Path(given).expanduser().exists() or not (directory / given).is_file():
        return tree
    return tree | {"llama_stack": tree["llama_stack"] | {key: str(directory / given)}}


def _with_database(tree: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    database = tree.get("database", {})
    if isinstance(database, dict) and all(value is None for value in database.values()):
        default = {"db_path": str(state_directory(environment) / "lightspeed-stack.db")}
        return tree | {"database": database | {"sqlite": default}}
    return tree


def state_directory(environment: Mapping[str, str]) -> Path:
    """Where the service keeps its own files: `LIGHTSPEED_STATE`, or the user's data directory.

    The directory is absolute and need not exist. It is never a temporary directory of the system.
    """
    if chosen := environment.get("LIGHTSPEED_STATE"):
        return Path(chosen).expanduser().absolute()
    if data := environment.get("XDG_DATA_HOME"):
        return Path(data).expanduser().absolute() / "lightspeed"
    # Rarely needed, and its import takes as long as the models of several sections.
    import platformdirs

    return Path(platformdirs.user_data_dir("lightspeed", appauthor=False)).absolute()


def masked(configuration: Configuration) -> dict[str, Any]:
    """The configuration as JSON values in the order of its keys, without secrets.

    Masked are secret keys, user names and passwords in URLs, URL parameters that look secret, and values
    of MCP authorization headers other than `kubernetes`, `client` and `oauth`.
    """
    dump = configuration.model_dump(mode="json")
    for server in dump["mcp_servers"]:
        headers = server["authorization_headers"]
        server["authorization_headers"] = {
            name: value if value in _HEADER_WORDS else MASK for name, value in headers.items()
        }
    cleaned: dict[str, Any] = _without_credentials(dump)
    return cleaned


def _without_credentials(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_credentials(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_credentials(item) for item in value]
    if isinstance(value, str) and "://" in value:
        return _SECRET_PARAMETER.sub(rf"\g<1>{MASK}", _USER_INFO.sub(MASK, value))
    return value
