"""The run configuration of the embedded stack: `run.yaml`."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
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
    try:
        tree = read_document(path)
        if not isinstance(tree, dict):
            raise ConfigurationError("must be a mapping of sections")
        configuration: dict[str, Any] = substitute(tree, environment, retype=True)
    except ConfigurationError as error:
        raise ConfigurationError([f"{path}: {problem}" for problem in error.problems]) from None
    for backend in _backends(configuration):
        database = backend.get("db_path")
        if isinstance(database, str) and database != ":memory:":
            _make_folder(Path(database).expanduser().parent, path)
            if "sqlite" in str(backend.get("type", "")):
                _check_database(Path(database).expanduser(), path)
    return configuration


def for_knowledge_only(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The same without the model providers that no knowledge store needs."""
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
    return {**configuration, "providers": providers, "registered_resources": {**resources, "models": kept}}


def store_has_content(configuration: Mapping[str, Any], store: str) -> bool:
    """Whether the stock FAISS provider has written an index for this store; looks into the files only."""
    return any(
        _has_index(Path(str(backend["db_path"])).expanduser(), store)
        for backend in _backends(configuration)
        if backend.get("db_path")
    )


def _has_index(database: Path, store: str) -> bool:
    if not database.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT 1 FROM kvstore WHERE key = ?", (f"faiss_index:v3::{store}",))
            return found.fetchone() is not None
    except sqlite3.Error:
        return False


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
