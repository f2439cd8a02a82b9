"""Texts that users keep for later. Nobody else sees them."""

import hashlib
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, func, insert, select

from lightspeed.errors import Conflict, Unprocessable
from lightspeed.storage.database import Database
from lightspeed.storage.encoding import storable_text
from lightspeed.storage.schema import saved_prompts

_columns = saved_prompts.c


@dataclass(frozen=True, slots=True)
class SavedPrompt:
    id: str
    user_id: str
    name: str
    content: str
    created_at: datetime
    updated_at: datetime


class SavedPrompts:
    """Rows of saved prompts. All methods raise StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user_id: str, name: str, content: str, *, most: int) -> SavedPrompt:
        """Raises Conflict if the user has one of this name, Unprocessable if there are `most` already."""
        now = datetime.now(UTC)
        made = SavedPrompt(str(uuid.uuid4()), user_id, storable_text(name), storable_text(content), now, now)

        def change(connection: Connection) -> None:
            _lock(connection, user_id)
            own = select(func.count()).select_from(saved_prompts).where(_columns.user_id == user_id)
            if connection.execute(own.where(_columns.name == made.name)).scalar_one():
                raise Conflict(
                    "A saved prompt with this name exists already.", response="Saved prompt already exists"
                )
            if connection.execute(own).scalar_one() >= most:
                raise Unprocessable(
                    f"The limit of {most} saved prompts is reached.", response="Too many saved prompts"
                )
            connection.execute(insert(saved_prompts), asdict(made))

        await self._database.write(change)
        return made

    async def of_user(self, user_id: str) -> list[SavedPrompt]:
        """All of a user, newest first."""
        statement = (
            select(saved_prompts)
            .where(_columns.user_id == user_id)
            .order_by(_columns.created_at.desc(), _columns.id.desc())
        )
        return await self._database.read(
            lambda connection: [SavedPrompt(**row._mapping) for row in connection.execute(statement)]
        )

    async def count_user(self, user_id: str) -> int:
        """How many a user has."""
        statement = select(func.count()).select_from(saved_prompts).where(_columns.user_id == user_id)
        return await self._database.read(lambda connection: connection.execute(statement).scalar_one())

    async def remove(self, user_id: str, prompt_id: str) -> bool:
        """False if this user has no such prompt."""
        statement = delete(saved_prompts).where(_columns.id == prompt_id, _columns.user_id == user_id)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount > 0)

    async def erase_user(self, user_id: str) -> int:
        """Remove all of a user; returns how many that were."""
        statement = delete(saved_prompts).where(_columns.user_id == user_id)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def _lock(connection: Connection, user_id: str) -> None:
    """Let others that add to this user's wait until the end of the transaction. On SQLite they wait anyway."""
    if connection.dialect.name == "postgresql":
        digest = hashlib.sha256(f"saved prompts of {user_id}".encode("utf-8", "surrogatepass")).digest()
        key = int.from_bytes(digest[:8], signed=True)
        connection.execute(select(func.pg_advisory_xact_lock(key)))
