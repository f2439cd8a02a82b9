"""`lightspeed check`: both configuration files, without starting anything."""

import os
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from lightspeed.commands.summary import summary
from lightspeed.commands.tls import tls_problems
from lightspeed.configuration.fields import path_trouble
from lightspeed.configuration.loading import load_configuration, named_run_file, state_directory
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError
from lightspeed.plan import Plan, read_plan, warnings
from lightspeed.stack.run_file.inspection import Inspection, inspected
from lightspeed.stack.run_file.reading import read_run
from lightspeed.stack.run_file.stores import known_stores

_NOTHING = Inspection((), ())


def check_command(source: Path) -> int:
    """Print what would be started, and what deserves a warning. Returns 0.

    Nothing is started, loaded or written. Raises ConfigurationError with one line for each mistake in either file.
    """
    plan, doubts = _checked(source)
    console = Console(highlight=False, soft_wrap=True)
    files = dict.fromkeys((str(source), str(plan.run_configuration_file)))
    console.print(f"{' and '.join(files)}: no mistakes", markup=False)
    for name, value in summary(plan):
        console.print(f"  {name:<15} {value}", markup=False)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    for line in (*(f"{plan.run_configuration_file}: {notice}" for notice in plan.notices), *doubts):
        errors.print(f"warning: {line}", markup=False)
    return 0


def _checked(source: Path) -> tuple[Plan, list[str]]:
    try:
        configuration = load_configuration(source, os.environ)
    except ConfigurationError as error:
        raise ConfigurationError([*error.problems, *_problems_of_run_file(source)]) from None
    problems = [f"{source}: {problem}" for problem in _problems_of_machine(configuration)]
    try:
        plan = read_plan(configuration, source, os.environ, make_folders=False)
    except ConfigurationError as error:
        raise ConfigurationError([*problems, *error.problems]) from None
    embedded = configuration.llama_stack.use_as_library_client
    found = inspected(plan.run_configuration, plan.run_configuration_file) if embedded else _NOTHING
    problems += found.problems
    if problems:
        raise ConfigurationError(problems)
    own = [*warnings(configuration), *(_stores_to_be_found(configuration, plan) if embedded else ())]
    return plan, [*plan.doubts, *(f"{source}: {line}" for line in own), *found.warnings]


def _problems_of_run_file(source: Path) -> list[str]:
    """The mistakes of run.yaml, though the service's own file has some too."""
    path = named_run_file(source, os.environ)
    if path is None:
        return []
    try:
        read_run(path, os.environ, state_directory(os.environ), make_folders=False)
    except ConfigurationError as error:
        return error.problems
    return []


def _problems_of_machine(configuration: Configuration) -> Iterator[str]:
    yield from tls_problems(configuration.service.tls_config)
    yield from _database_problems(configuration)
    state = state_directory(os.environ)
    if reason := path_trouble(state):
        yield f"the state directory {state} {reason}"
        return
    if trouble := _folder_trouble(state):
        yield f"the state directory {state}: {trouble}"


def _folder_trouble(folder: Path) -> str | None:
    """What keeps a folder from being used, or made if it is not there."""
    existing = next(above for above in (folder, *folder.parents) if above.exists())
    if not existing.is_dir():
        return f"{existing} is not a directory"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} cannot be written to"
    return None


def _database_problems(configuration: Configuration) -> Iterator[str]:
    databases = {
        "database": configuration.database.sqlite,
        "conversation_cache": configuration.conversation_cache.sqlite,
        "a2a_state": configuration.a2a_state.sqlite,
        "quota_handlers": configuration.quota_handlers.sqlite,
    }
    for section, database in databases.items():
        if database is None:
            continue
        if reason := path_trouble(database.db_path):
            yield f"{section}.sqlite.db_path: {reason}"
        elif database.db_path.is_dir():
            yield f"{section}.sqlite.db_path: is a directory, not a file"
        elif trouble := _folder_trouble(database.db_path.absolute().parent):
            yield f"{section}.sqlite.db_path: {trouble}"


def _stores_to_be_found(configuration: Configuration, plan: Plan) -> Iterator[str]:
    known = known_stores(configuration, plan.run_configuration)
    for kind, ids in (("inline", configuration.rag.inline), ("tool", configuration.rag.tool)):
        for position, identifier in enumerate(ids):
            if identifier not in known:
                yield (
                    f"rag.{kind}[{position}]: `{identifier}` is in neither file;"
                    " it must have been made by `lightspeed ingest` or over REST"
                )
