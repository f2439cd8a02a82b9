"""`lightspeed ingest`: documents into a knowledge store."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
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

from lightspeed.configuration.loading import state_directory
from lightspeed.configuration.root import Configuration
from lightspeed.documents.finding import SourceFile, find_files
from lightspeed.errors import StartupError
from lightspeed.retrieval.ingest import Ingester, IngestReport, chunker_for
from lightspeed.services import Plan, read_plan, start_stack
from lightspeed.stack.run_configuration import for_knowledge_only, store_has_content

_SHOWN = 10


def ingest_command(
    configuration: Configuration, source: Path, paths: Sequence[str], store: str, *, if_empty: bool
) -> int:
    """Returns 0, or 1 when a file could not be read."""
    plan = read_plan(configuration, source, os.environ)
    if if_empty and store_has_content(plan.run_configuration, store):
        return 0
    with _alone():
        return anyio.run(_ingest, plan, paths, store, backend_options={"use_uvloop": True})


@contextmanager
def _alone() -> Iterator[None]:
    """The stock FAISS store is written whole: two that write at once would lose what the other has added."""
    folder = state_directory(os.environ)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "ingest.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartupError(
                f"another `lightspeed ingest` is at work in {folder}; try again later"
            ) from None
        yield


async def _ingest(plan: Plan, paths: Sequence[str], store: str) -> int:
    console = Console(stderr=True, highlight=False)
    report = IngestReport()
    files = await to_thread.run_sync(_found, paths, report)
    with console.status("starting") as status:
        needed = replace(plan, run_configuration=for_knowledge_only(plan.run_configuration))
        stack = await start_stack(needed, status.update)
    try:
        model = await stack.default_embedding_model()
        chunker = chunker_for(await stack.token_counter(model.name))
        ingester = Ingester(stack.knowledge, model, chunker)
        with _progress(console) as progress:
            task = progress.add_task(f"reading into {store}", total=len(files))
            await ingester.ingest(files, store, report, lambda: progress.advance(task))
    finally:
        await stack.close()
    _tell(report, store, plan, console)
    return 1 if report.failures else 0


def _found(paths: Sequence[str], report: IngestReport) -> list[SourceFile]:
    return list(find_files(paths, on_error=report.failures.append))


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeRemainingColumn(),
        console=console,
    )


def _tell(report: IngestReport, store: str, plan: Plan, console: Console) -> None:
    console.print(
        f"{store}: {report.added} documents added, {report.replaced} replaced, {report.unchanged} unchanged, "
        f"{len(report.skipped)} skipped, {len(report.failures)} failed; {report.passages} passages in {report.seconds:.1f} s",
        soft_wrap=True,
    )
    for skipped in report.skipped[:_SHOWN]:
        console.print(f"  skipped: {skipped}", markup=False)
    if len(report.skipped) > _SHOWN:
        console.print(f"  and {len(report.skipped) - _SHOWN} more skipped")
    for failure in report.failures:
        console.print(f"  failed: {failure}", markup=False)
    rag = plan.configuration.rag
    if (rag.inline or rag.tool) and store not in (*rag.inline, *rag.tool):
        console.print(
            f"The store is not searched yet: add {store!r} to rag.inline in the configuration file."
        )
