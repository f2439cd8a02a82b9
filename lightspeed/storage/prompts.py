"""Prompts for everyone, in versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from lightspeed.errors import Conflict, NotFound
from lightspeed.storage.database import Database
from lightspeed.storage.encoding import storable_text
from lightspeed.storage.identifiers import new_prompt_id
from lightspeed.storage.prompt_templates import rendered
from lightspeed.storage.schema import prompts

_LARGEST_VERSION: Final = 2**31 - 1
_PROMPT: Final = "Prompt"
_columns = prompts.c


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt. `user_id` is who made this version, empty if that user has been erased."""

    id: str
    version: int
    user_id: str
    prompt: str
    variables: tuple[str, ...]
    is_default: bool
    created_at: datetime


class Prompts:
    """Rows of prompts, one for each version: 1, 2, 3 and so on. All methods raise StorageError.

    Whoever changes a prompt locks its first version, which is there as long as the prompt is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user_id: str, prompt: str, variables: Sequence[str]) -> Prompt:
        """A new prompt, in version 1."""
        made = Prompt(
            new_prompt_id(), 1, user_id, storable_text(prompt), tuple(variables), True, datetime.now(UTC)
        )
        await self._database.write(lambda connection: _insert(connection, made))
        return made

    async def add_version(
        self,
        prompt_id: str,
        latest: int,
        user_id: str,
        prompt: str,
        variables: Sequence[str],
        *,
        set_as_default: bool,
    ) -> Prompt:
        """The version after `latest`. Raises NotFound, or Conflict if that is not the latest one."""

        def change(connection: Connection) -> Prompt:
            _lock(connection, prompt_id)
            newest = connection.execute(
                select(func.max(_columns.version)).where(_columns.id == prompt_id)
            ).scalar_one()
            if newest != latest:
                raise Conflict(
                    f"The latest version of prompt {prompt_id} is {newest}, not {latest}.",
                    response="Prompt has another version",
                )
            made = Prompt(
                prompt_id,
                latest + 1,
                user_id,
                storable_text(prompt),
                tuple(variables),
                False,
                datetime.now(UTC),
            )
            _insert(connection, made)
            if not set_as_default:
                return made
            _set_default(connection, prompt_id, made.version)
            return replace(made, is_default=True)

        return await self._database.write(change)

    async def set_default(self, prompt_id: str, version: int) -> Prompt:
        """Make a version the one that is used where none is named. Raises NotFound."""

        def change(connection: Connection) -> Prompt:
            _lock(connection, prompt_id)
            chosen = _version(connection, prompt_id, version)
            _set_default(connection, prompt_id, version)
            return replace(chosen, is_default=True)

        return await self._database.write(change)

    async def get(self, prompt_id: str, version: int | None = None) -> Prompt:
        """A version, or the default one. Raises NotFound."""
        return await self._database.read(lambda connection: _version(connection, prompt_id, version))

    async def defaults(self) -> list[Prompt]:
        """The default version of each prompt, ids descending."""
        statement = select(prompts).where(_columns.is_default).order_by(_columns.id.desc())
        return await self._database.read(
            lambda connection: [_prompt(row) for row in connection.execute(statement)]
        )

    async def versions(self, prompt_id: str) -> list[Prompt]:
        """All versions of a prompt, the latest first. Raises NotFound."""
        statement = select(prompts).where(_columns.id == prompt_id).order_by(_columns.version.desc())
        found = await self._database.read(
            lambda connection: [_prompt(row) for row in connection.execute(statement)]
        )
        if not found:
            raise NotFound(_PROMPT, prompt_id)
        return found

    async def remove(self, prompt_id: str) -> bool:
        """Remove all versions. False if there were none."""

        def change(connection: Connection) -> bool:
            try:
                _lock(connection, prompt_id)
            except NotFound:
                return False
            connection.execute(delete(prompts).where(_columns.id == prompt_id))
            return True

        return await self._database.write(change)

    async def count_user(self, user_id: str) -> int:
        """How many versions a user has made."""
        statement = select(func.count()).select_from(prompts).where(_columns.user_id == user_id)
        return await self._database.read(lambda connection: connection.execute(statement).scalar_one())

    async def erase_user(self, user_id: str) -> int:
        """Prompts belong to everyone and stay; who made them is forgotten. Returns how many versions that were."""
        statement = update(prompts).where(_columns.user_id == user_id).values(user_id="")
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def render(prompt: Prompt, variables: Mapping[str, str]) -> str:
    """The text of a prompt with values for its variables. Raises Unprocessable."""
    return rendered(prompt.prompt, prompt.variables, variables)


def _lock(connection: Connection, prompt_id: str) -> None:
    """Let others that change this prompt wait until the end of the transaction. Raises NotFound."""
    first = select(_columns.version).where(_columns.id == prompt_id, _columns.version == 1).with_for_update()
    if connection.execute(first).scalar_one_or_none() is None:
        raise NotFound(_PROMPT, prompt_id)


def _insert(connection: Connection, made: Prompt) -> None:
    connection.execute(
        insert(prompts),
        {
            "id": made.id,
            "version": made.version,
            "user_id": made.user_id,
            "prompt": made.prompt,
            "variables": list(made.variables),
            "is_default": made.is_default,
            "created_at": made.created_at,
        },
    )


def _set_default(connection: Connection, prompt_id: str, version: int) -> None:
    connection.execute(
        update(prompts).where(_columns.id == prompt_id).values(is_default=_columns.version == version)
    )


def _version(connection: Connection, prompt_id: str, version: int | None) -> Prompt:
    statement = select(prompts).where(_columns.id == prompt_id)
    if version is None:
        statement = statement.where(_columns.is_default)
    elif 1 <= version <= _LARGEST_VERSION:
        statement = statement.where(_columns.version == version)
    else:
        # No database has such a number.
        raise NotFound(_PROMPT, f"{prompt_id} and version {version}")
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound(_PROMPT, prompt_id if version is None else f"{prompt_id} and version {version}")
    return _prompt(row)


def _prompt(row: Row[tuple[object, ...]]) -> Prompt:
    values = dict(row._mapping)
    return Prompt(**{**values, "variables": tuple(values["variables"])})
