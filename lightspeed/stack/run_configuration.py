"""The run configuration of the embedded stack: `run.yaml`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightspeed.configuration.document import read_document
from lightspeed.configuration.substitution import substitute
from lightspeed.errors import ConfigurationError

_SQLITE_MAGIC = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat.html#magic_header_string


def load_run_configuration(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The file with its environment variables replaced. Folders of its databases are made.

    Raises ConfigurationError with one line for each mistake.
    """
    configuration = read_run_file(path, environment)
    prepare_databases(configuration, path)
    return configuration


def read_run_file(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The file with its environment variables replaced; nothing is written.

    Raises ConfigurationError with one line for each mistake.
    """
    try:
        tree = read_document(path)
        if not isinstance(tree, dict):
            raise ConfigurationError("must be a mapping of sections")
        configuration: dict[str, Any] = substitute(tree, environment, retype=True)
    except ConfigurationError as error:
        raise ConfigurationError([f"{path}: {problem}" for problem in error.problems]) from None
    return configuration


def prepare_databases(configuration: Mapping[str, Any], path: Path, *, make_folders: bool = True) -> None:
    """Make the folders of the SQLite files, and see that those which exist are databases.

    Raises ConfigurationError with one line for each mistake; `path` is the file that names the databases.
    """
    problems: list[str] = []
    for backend in _backends(configuration):
        database = backend.get("db_path")
        if not isinstance(database, str) or database == ":memory:":
            continue
        try:
            if make_folders:
                _make_folder(Path(database).expanduser().parent, path)
            if "sqlite" in str(backend.get("type", "")):
                _check_database(Path(database).expanduser(), path)
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)


def for_knowledge_only(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The same without the model providers that no knowledge store needs, and without work on attached files."""
    resources = configuration.get("registered_resources") or {}
    needed = {
        str(store.get("embedding_model", "")).partition("/")[0]
        for store in resources.get("vector_stores") or ()
    }
    models = resources.get("models") or ()
    needed |= {model.get("provider_id") for model in models if model.get("model_type") == "embedding"}
    providers = dict(configuration.get("providers") or {})
    providers["inference"] = [
        item for item in providers.get("inference") or () if item.get("provider_id") in needed
    ]
    kept = [model for model in models if model.get("provider_id") in needed]
    providers["vector_io"] = [_without_jobs(item) for item in providers.get("vector_io") or ()]
    return {**configuration, "providers": providers, "registered_resources": {**resources, "models": kept}}


def _without_jobs(provider: Mapping[str, Any]) -> Mapping[str, Any]:
    """Reading a file may take a chat model, which is not there."""
    if provider.get("provider_type") != "inline::faiss-sqlite":
        return provider
    return {**provider, "config": {**(provider.get("config") or {}), "read_files": False}}


def _backends(configuration: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    storage = configuration.get("storage")
    backends = storage.get("backends") if isinstance(storage, dict) else None
    return [backend for backend in (backends or {}).values() if isinstance(backend, dict)]


def _check_database(database: Path, source: Path) -> None:
    """The stack says of a damaged file only that it is no database, and not which one."""
    try:
        with database.open("rb") as file:
            beginning = file.read(len(_SQLITE_MAGIC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(
            f"{source}: storage.backends: cannot read {database}: {error.strerror}"
        ) from None
    if beginning and beginning != _SQLITE_MAGIC:
        raise ConfigurationError(f"{source}: storage.backends: {database} is not a SQLite database")


def _make_folder(folder: Path, source: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{source}: storage.backends: cannot make {folder}: {error.strerror}"
        ) from None
