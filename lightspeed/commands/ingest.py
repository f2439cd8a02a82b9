"""`lightspeed ingest`: documents into a knowledge store."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from anyio import to_thread
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from lightspeed.commands.ingest_database import chosen_store, import_database
from lightspeed.configuration.root import Configuration
from lightspeed.documents.finding import DocumentError, SourceFile, find_files, searched_roots
from lightspeed.documents.web import PageReader, is_address
from lightspeed.plan import Plan, read_plan
from lightspeed.retrieval.ingest import Ingester, IngestReport, Source, chunker_for
from lightspeed.services import start_stack
from lightspeed.stack.knowledge import is_filled
from lightspeed.stack.run_configuration import for_knowledge_only

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What is to be read, and how.

    `paths` are files, folders, patterns and web addresses. `sync` removes documents whose files have
    vanished from the given folders. `database` is one of the stack's own `inline::faiss`, of which the only store, or
    `database_store`, is taken over first. `embedding_model` made its vectors, where it names another.
    """

    paths: tuple[str, ...]
    store: str
    if_empty: bool = False
    sync: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allow_private: bool = False
    database: Path | None = None
    database_store: str | None = None
    embedding_model: str | None = None


def ingest_command(configuration: Configuration, source: Path, options: IngestOptions) -> int:
    """Returns 0, or 1 when a file or page could not be read."""
    plan = read_plan(configuration, source, os.environ)
    if options.if_empty and is_filled(plan.run_configuration, options.store):
        return 0
    return anyio.run(_ingest, plan, options, backend_options={"use_uvloop": True})


async def _ingest(plan: Plan, options: IngestOptions) -> int:
    console = Console(stderr=True, highlight=False)
    report = IngestReport()
    pages = PageReader(options.allowed_hosts, allow_private=options.allow_private)
    addresses = [pages.check(path) for path in options.paths if is_address(path)]
    files, roots = await to_thread.run_sync(_found, options, report)
    sources: list[Source] = [*files, *dict.fromkeys(addresses)]
    stock = None
    if options.database is not None:
        with console.status(f"looking into {options.database}"):
            stock = await to_thread.run_sync(chosen_store, options.database, options.database_store)
    with console.status("starting") as status:
        needed = replace(plan, run_configuration=for_knowledge_only(plan.run_configuration))
        stack = await start_stack(needed, status.update)
    try:
        if options.database is not None and stock is not None:
            await import_database(
                stack, options.database, stock, options.embedding_model, options.store, console
            )
            if not options.paths:
                await stack.knowledge.mark_filled(options.store)
                return 0
        # A store keeps the model that it was made with, and its passages are cut for that one.
        model = await stack.knowledge.model_of(options.store) or await stack.default_embedding_model()
        chunker = chunker_for(await stack.token_counter(model.name))
        ingester = Ingester(stack.knowledge, model, chunker, pages)
        try:
            with _progress(console) as progress:
                advance = _shown_by(progress, report, options.store, len(sources))
                await ingester.ingest(sources, options.store, report, advance, synced_roots=roots)
            if stock is not None or report.documents:
                # Else the folder may not be mounted yet, and --if-empty is to look again.
                await stack.knowledge.mark_filled(options.store)
        except BaseException:
            # What is stored so far stays, also when the user has had enough.
            _tell(report, options.store, plan, console)
            console.print("ended early: run the same command again to go on", soft_wrap=True)
            raise
    finally:
        await stack.close()
    _tell(report, options.store, plan, console)
    return 1 if report.failures else 0


def _found(options: IngestOptions, report: IngestReport) -> tuple[list[SourceFile], dict[str, str]]:
    """The files, and the roots that are to be synchronised."""
    paths = [path for path in options.paths if not is_address(path)]
    files = list(find_files(paths, on_error=report.failures.append))
    if not options.sync:
        return files, {}
    if report.failures:
        report.notes.append("a folder could not be read, so no document is removed")
        return files, {}
    return files, searched_roots(paths)


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files, {task.fields[speed]:.0f} passages/s,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
    )


def _shown_by(progress: Progress, report: IngestReport, store: str, total: int) -> Callable[[], None]:
    task = progress.add_task(f"reading into {store}", total=total, speed=0.0)
    started = time.perf_counter()

    def advance() -> None:
        speed = report.embedded / (time.perf_counter() - started)
        progress.update(task, completed=report.sources + report.underway, speed=speed)

    return advance


def _tell(report: IngestReport, store: str, plan: Plan, console: Console) -> None:
    console.print(
        f"{store}: {report.added} documents added, {report.replaced} replaced, {report.unchanged} unchanged, "
        f"{report.removed} removed, {len(report.skipped)} skipped, {len(report.failures)} failed; "
        f"{report.passages} passages in {report.seconds:.1f} s",
        markup=False,
        soft_wrap=True,
    )
    for skipped in report.skipped[:_SHOWN]:
        console.print(f"  skipped: {_reason(skipped, report)}", markup=False, soft_wrap=True)
    if len(report.skipped) > _SHOWN:
        console.print(f"  and {len(report.skipped) - _SHOWN} more skipped")
    for failure in report.failures:
        console.print(f"  failed: {_reason(failure, report)}", markup=False, soft_wrap=True)
    for note in report.notes:
        console.print(f"  {note}", markup=False, soft_wrap=True)
    rag = plan.configuration.rag
    if (rag.inline or rag.tool) and store not in (*rag.inline, *rag.tool):
        console.print(
            f"The store is not searched yet: add {store!r} to rag.inline in the configuration file."
        )


def _reason(error: DocumentError, report: IngestReport) -> str:
    return f"{error} (its earlier version is kept)" if error.path in report.kept else str(error)
