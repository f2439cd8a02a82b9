"""Everything that is kept, where the configuration says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError
from lightspeed.storage.connecting import database_for
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.erasure import Erasure
from lightspeed.storage.feedback import FeedbackStore
from lightspeed.storage.files import remove_stale_temporaries
from lightspeed.storage.interrupts import Interrupts
from lightspeed.storage.pending import PendingTurns
from lightspeed.storage.switches import Switches
from lightspeed.storage.transcripts import Transcripts


@dataclass(frozen=True)
class Store:
    """Used between `open()` and `close()`.

    `transcripts` and `feedback` are there when they have a directory, also while nothing is added to them: what they
    hold can still be erased.
    """

    databases: Sequence[Database]
    conversations: Conversations
    interrupts: Interrupts
    switches: Switches
    pending: PendingTurns
    transcripts: Transcripts | None
    feedback: FeedbackStore | None
    erasure: Erasure
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
    main = _main_database(configuration)
    database, conversations = _conversations(configuration, main)
    collection = configuration.user_data_collection
    transcripts = Transcripts(collection.transcripts_storage) if collection.transcripts_storage else None
    feedback = FeedbackStore(collection.feedback_storage) if collection.feedback_storage else None
    pending = PendingTurns(state / "pending")
    return Store(
        databases=[main] if database is main else [main, database],
        conversations=conversations,
        interrupts=Interrupts(main),
        switches=Switches(main),
        pending=pending,
        transcripts=transcripts,
        feedback=feedback,
        erasure=Erasure(conversations, pending, transcripts=transcripts, feedback=feedback),
        directories=[
            directory
            for directory in (collection.transcripts_storage, collection.feedback_storage, state / "pending")
            if directory is not None
        ],
    )


def _main_database(configuration: Configuration) -> Database:
    place = configuration.database.sqlite or configuration.database.postgres
    if place is None:
        raise ConfigurationError("database: neither `sqlite` nor `postgres` is given")
    return database_for(place)


def _conversations(configuration: Configuration, main: Database) -> tuple[Database, Conversations]:
    """In one place: where the history is said to go, else in the main database."""
    cache = configuration.conversation_cache
    if cache.type == "memory" and cache.memory is not None:
        database = Database.in_memory()
        return database, Conversations(database, most=cache.memory.max_entries)
    if cache.type == "noop":
        return main, Conversations(main, keeps_content=False)
    place = cache.sqlite or cache.postgres
    if place is None or place in (configuration.database.sqlite, configuration.database.postgres):
        return main, Conversations(main)
    database = database_for(place)
    return database, Conversations(database)
