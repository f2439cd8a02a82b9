"""From a file to a configuration, and from a configuration to a dump without secrets."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lightspeed.configuration import messages
from lightspeed.configuration.document import read_document
from lightspeed.configuration.fields import path_trouble
from lightspeed.configuration.masking import MASK, without_credentials, without_secrets
from lightspeed.configuration.mcp import FROM_CALLER
from lightspeed.configuration.root import Configuration
from lightspeed.configuration.substitution import key_path, resolve, unset
from lightspeed.errors import ConfigurationError


def load_configuration(path: Path, environment: Mapping[str, str]) -> Configuration:
    """Read, substitute and validate the file.

    Relative paths in the file start at the working directory; those of the stack's run.yaml and of skills may also
    start at the directory of the file. Raises ConfigurationError with one line
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


def named_run_file(path: Path, environment: Mapping[str, str]) -> Path | None:
    """The run.yaml that the file names, as far as this can be told of a file with mistakes."""
    try:
        tree = read_document(path)
    except ConfigurationError:
        return None
    if not isinstance(tree, dict):
        return None
    stack = _with_run_file(resolve(tree, environment).tree, path.parent).get("llama_stack")
    named = stack.get("library_client_config_path") if isinstance(stack, dict) else None
    file = Path(named).expanduser() if isinstance(named, str) else None
    return file if file is not None and not path_trouble(file) and file.is_file() else None


def _validated(path: Path, tree: dict[str, Any], environment: Mapping[str, str]) -> Configuration:
    substitution = resolve(tree, environment)
    found = [(key, unset(name)) for key, names in substitution.missing.items() for name in names]
    configuration = None
    try:
        tree = _with_skills(_with_run_file(substitution.tree, path.parent), path.parent)
        tree = _with_database(tree, environment)
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
    """The files of the stack's configuration may lie beside the service's."""
    stack = tree.get("llama_stack")
    if not isinstance(stack, dict):
        return tree
    stack = _beside(stack, "library_client_config_path", directory)
    if isinstance(stack.get("config"), dict):
        stack = stack | {"config": _beside(stack["config"], "profile", directory)}
    return tree | {"llama_stack": stack}


def _with_skills(tree: dict[str, Any], directory: Path) -> dict[str, Any]:
    skills = tree.get("skills")
    if not isinstance(skills, dict) or not isinstance(skills.get("paths"), list):
        return tree
    paths = [_found(given, directory, Path.is_dir) for given in skills["paths"]]
    return tree | {"skills": skills | {"paths": paths}}


def _beside(section: dict[str, Any], key: str, directory: Path) -> dict[str, Any]:
    return section | {key: _found(section[key], directory, Path.is_file)} if key in section else section


def _found(given: Any, directory: Path, fits: Callable[[Path], bool]) -> Any:
    """A path that leads nowhere from the working directory, but from the directory of the file."""
    if not isinstance(given, str):
        return given
    named = Path(given).expanduser()
    if path_trouble(named) or named.exists() or not fits(directory / given):
        return given
    return str(directory / given)


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
            name: value if value in FROM_CALLER else MASK for name, value in headers.items()
        }
    # Settings of the stack, whose keys are not known here.
    for provider in dump["inference"]["providers"]:
        provider["extra"] = without_secrets(provider["extra"])
    if dump["llama_stack"]["config"] is not None:
        native = dump["llama_stack"]["config"]
        native["native_override"] = without_secrets(native["native_override"])
    cleaned: dict[str, Any] = without_credentials(dump)
    return cleaned
