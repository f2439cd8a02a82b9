"""The run configuration that a configuration of the service asks for: read from run.yaml, or made without one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError
from lightspeed.stack.run_configuration import prepare_databases, read_run_file
from lightspeed.stack.run_file.checking import shape_problems
from lightspeed.stack.run_file.synthesis import synthesised
from lightspeed.stack.run_file.tree import Tree
from lightspeed.stack.run_file.upgrading import upgraded


@dataclass(frozen=True, slots=True)
class RunFile:
    """A run configuration for llama-stack 0.7.3, and the file to name in messages about it.

    `notices` has one line for each thing that an older file says otherwise.
    """

    tree: Tree
    source: Path
    notices: tuple[str, ...]


def read_run_configuration(
    configuration: Configuration,
    source: Path,
    environment: Mapping[str, str],
    state: Path,
    *,
    make_folders: bool = True,
) -> RunFile:
    """Read run.yaml, or make what it would say. `source` is the service's own file.

    Only the folders of databases are made on disk, and not even these without `make_folders`. Raises
    ConfigurationError with one line for each mistake.
    """
    path = configuration.llama_stack.library_client_config_path
    if path is not None:
        return read_run(Path(path), environment, state, make_folders=make_folders)
    try:
        tree = synthesised(configuration, environment, state)
    except ConfigurationError as error:
        raise ConfigurationError([f"{source}: {problem}" for problem in error.problems]) from None
    return _finished(tree, source, state, make_folders=make_folders)


def read_run(
    path: Path, environment: Mapping[str, str], state: Path, *, make_folders: bool = True
) -> RunFile:
    """As `read_run_configuration`, of one run.yaml."""
    return _finished(read_run_file(path, environment), path, state, make_folders=make_folders)


def _finished(tree: Tree, source: Path, state: Path, *, make_folders: bool) -> RunFile:
    new = upgraded(tree, state)
    problems = [f"{source}: {problem}" for problem in shape_problems(new.tree)]
    if problems:
        raise ConfigurationError(problems)
    prepare_databases(new.tree, source, make_folders=make_folders)
    return RunFile(new.tree, source, new.notices)
