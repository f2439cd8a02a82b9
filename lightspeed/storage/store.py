"""Everything that is kept, where the configuration says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError
from lightspeed.storage.approvals import Approvals
from lightspeed.storage.connecting import database_for
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.erasure import Belongings, Erasure
from lightspeed.storage.feedback import FeedbackStore
from lightspeed.storage.files import remove_stale_temporaries
from lightspeed.storage.interrupts import Interrupts
from lightspeed.storage.mcp_servers import RegisteredServers
from lightspeed.storage.ownership import Ownership
from lightspeed.storage.paused_turns import PausedTurns
from lightspeed.storage.pending import PendingTurns
from lightspeed.storage.prompts import Prompts
from lightspeed.storage.quota_place import Place, configured_quotas
from lightspeed.storage.quotas import Quotas
from lightspeed.storage.saved_prompts import SavedPrompts
from lightspeed.storage.switches import Switches
from lightspeed.storage.transcripts import Transcripts


@dataclass(frozen=True)
class Store:
    """Used between `open()` and `close()`.

    `transcripts` and `feedback` are there when they have a directory, also while nothing is added to them: what they
    hold can still be erased. `belongings` are what users have beside conversations, by its name in ErasedData.
    """

    databases: Sequence[Database]
    conversations: Conversations
    interrupts: Interrupts
    paused_turns: PausedTurns
    approvals: Approvals
    switches: Switches
    ownership: Ownership
    mcp_servers: RegisteredServers
    prompts: Prompts
    saved_prompts: SavedPrompts
    quotas: Quotas | None
    pending: PendingTurns
    transcripts: Transcripts | None
    feedback: FeedbackStore | None
    erasure: Erasure
    belongings: Mapping[str, Belongings]
    directories: Sequence[Path]

    async def open(self) -> None:
        """Raises StartupError, but not for a database that is merely away."""
        opened: list[Database] = []
        try:
            for database in self.databases:
                await database.open()
                opened.append(database)
            for directory in self.directories:
                await to_thread.run_sync(remove_stale_temporaries, directory)
        except BaseException:
            for database in opened:
                await database.close()
            raise

    async def close(self) -> None:
        for database in self.databases:
            await database.close()

    async def trouble(self) -> list[str]:
        """Why databases do not answer at this moment, a line for each that does not."""
        return [trouble for database in self.databases if (trouble := await database.trouble())]


def configured_store(configuration: Configuration, state: Path) -> Store:
    """Nothing is opened yet; `state` is the service's own directory. Raises ConfigurationError."""
    place, main = _main_database(configuration)
    database, conversations = _conversations(configuration, main)
    known = {place: main}
    if history := _history_place(configuration):
        known.setdefault(history, database)
    quotas = configured_quotas(configuration, known)
    collection = configuration.user_data_collection
    transcripts = Transcripts(collection.transcripts_storage) if collection.transcripts_storage else None
    feedback = FeedbackStore(collection.feedback_storage) if collection.feedback_storage else None
    pending = PendingTurns(state / "pending")
    paused = PausedTurns(main)
    servers, prompts, saved_prompts = RegisteredServers(main), Prompts(main), SavedPrompts(main)
    belongings: dict[str, Belongings] = {
        "saved_prompts": saved_prompts,
        "authorships": prompts,
        "mcp_servers": servers,
        **({"usage": quotas} if quotas is not None else {}),
    }
    return Store(
        databases=list(dict.fromkeys([main, database, *([quotas.database] if quotas else [])])),
        conversations=conversations,
        interrupts=Interrupts(main),
        paused_turns=paused,
        approvals=Approvals(main),
        switches=Switches(main),
        ownership=Ownership(main),
        mcp_servers=servers,
        prompts=prompts,
        saved_prompts=saved_prompts,
        quotas=quotas,
        pending=pending,
        transcripts=transcripts,
        feedback=feedback,
        erasure=Erasure(
            conversations,
            pending,
            transcripts=transcripts,
            feedback=feedback,
            paused=paused,
            belongings=belongings,
        ),
        belongings=belongings,
        directories=[
            directory
            for directory in (collection.transcripts_storage, collection.feedback_storage, state / "pending")
            if directory is not None
        ],
    )


def _main_database(configuration: Configuration) -> tuple[Place, Database]:
    place = configuration.database.sqlite or configuration.database.postgres
    if place is None:
        raise ConfigurationError("database: neither `sqlite` nor `postgres` is given")
    return place, database_for(place)


def _history_place(configuration: Configuration) -> Place | None:
    cache = configuration.conversation_cache
    return None if cache.type in {"memory", "noop"} else cache.sqlite or cache.postgres


def _conversations(configuration: Configuration, main: Database) -> tuple[Database, Conversations]:
    """In one place: where the history is said to go, else in the main database."""
    cache = configuration.conversation_cache
    if cache.type == "memory" and cache.memory is not None:
        database = Database.in_memory()
        return database, Conversations(database, most=cache.memory.max_entries)
    if cache.type == "noop":
        return main, Conversations(main, keeps_content=False)
    place = _history_place(configuration)
    if place is None or place in (configuration.database.sqlite, configuration.database.postgres):
        return main, Conversations(main)
    database = database_for(place)
    return database, Conversations(database)
