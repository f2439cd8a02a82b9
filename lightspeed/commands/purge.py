"""`lightspeed purge`: what is kept of a user, or what is too old, is erased for good."""

import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
from rich.console import Console
from rich.prompt import Confirm

from lightspeed.configuration.loading import state_directory
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError, StartupError
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.erasure import ErasedData, Erasure
from lightspeed.storage.ownership import Ownership
from lightspeed.storage.retention import Retention
from lightspeed.storage.store import Store, configured_store


def purge_command(configuration: Configuration, source: Path, user_id: str | None, *, yes: bool) -> int:
    """Erase a user's data, or with None what is older than the retention allows; the service may run meanwhile.

    Asks before it erases a user's data, unless `yes`. Returns 0, or 1 when nobody agreed.
    """
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    if user_id is None:
        return _purge_expired(configuration, source, console)
    if not user_id:
        raise ConfigurationError("--user: must not be empty")
    found = anyio.run(_found, configuration, user_id)
    if not found:
        console.print(f"Nothing is kept of the user {user_id}.")
        return 0
    console.print(f"Kept of the user {user_id}: {_listed(found)}.")
    if not yes and not _confirmed(console):
        console.print("Nothing was erased.")
        return 1
    erased = anyio.run(_erase, configuration, source, user_id)
    console.print(f"Erased: {_listed(erased)}.")
    return 0


def _purge_expired(configuration: Configuration, source: Path, console: Console) -> int:
    if not configuration.retention.given:
        raise ConfigurationError(f"{source}: retention: no age is given, so that nothing expires")
    erased = anyio.run(_erase_expired, configuration)
    console.print(f"Erased: {_listed(erased)}." if erased else "Nothing has expired.")
    return 0


def _confirmed(console: Console) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError("--yes is needed where nobody can be asked")
    try:
        return Confirm.ask("Erase this for good?", console=console, default=False)
    except EOFError:
        return False


async def _found(configuration: Configuration, user_id: str) -> ErasedData:
    async with _opened(configuration) as store:
        main, *others = _erasures(store)
        found = await main.found(user_id)
        for erasure in others:
            more = await erasure.found(user_id)
            # The files are the same for all of them.
            found += ErasedData(conversations=more.conversations, turns=more.turns)
        return found + await _uploads(Ownership(store.databases[0]), user_id)


async def _erase(configuration: Configuration, source: Path, user_id: str) -> ErasedData:
    erased = ErasedData()
    async with _opened(configuration) as store:
        for erasure in _erasures(store):
            erased += await erasure.user(user_id)
        ownership = Ownership(store.databases[0])
        if await _uploads(ownership, user_id):
            # Only now, because it takes the stack.
            from lightspeed.commands.purge_uploads import erase_uploads

            erased += await erase_uploads(configuration, source, ownership, user_id)
    return erased


async def _uploads(ownership: Ownership, user_id: str) -> ErasedData:
    """The vector stores and files of a user."""
    stores, files = await ownership.stores(user_id), await ownership.count_files(user_id)
    return ErasedData(stores=len(stores), files=files)


async def _erase_expired(configuration: Configuration) -> ErasedData:
    async with _opened(configuration) as store:
        return await Retention(store.erasure, configuration.retention).apply(datetime.now(UTC))


@asynccontextmanager
async def _opened(configuration: Configuration) -> AsyncIterator[Store]:
    store = configured_store(configuration, state_directory(os.environ))
    await store.open()
    try:
        if trouble := await store.trouble():
            raise StartupError("; ".join(trouble))
        yield store
    finally:
        await store.close()


def _erasures(store: Store) -> Sequence[Erasure]:
    """One for each database, because conversations may be left where the history was before it was moved."""
    return [
        Erasure(
            Conversations(database),
            store.pending,
            transcripts=store.transcripts,
            feedback=store.feedback,
            paused=store.paused_turns,
            belongings=store.belongings,
        )
        for database in store.databases
    ]


def _listed(data: ErasedData) -> str:
    counts = (
        (data.conversations, "conversation", "conversations"),
        (data.turns, "turn in conversations of others", "turns in conversations of others"),
        (data.transcripts, "transcript", "transcripts"),
        (data.feedback, "piece of feedback", "pieces of feedback"),
        (data.pending, "turn that waits to be recorded", "turns that wait to be recorded"),
        (data.approvals, "approval of a tool call", "approvals of tool calls"),
        (data.stores, "vector store", "vector stores"),
        (data.files, "uploaded file", "uploaded files"),
        (data.saved_prompts, "saved prompt", "saved prompts"),
        (
            data.authorships,
            "version of a prompt that names its author",
            "versions of prompts that name their author",
        ),
        (data.mcp_servers, "MCP server", "MCP servers"),
        (data.usage, "sum of tokens", "sums of tokens"),
    )
    return (
        ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)
        or "nothing"
    )
