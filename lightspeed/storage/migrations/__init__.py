"""The history of the tables.

Each revision is a module in `versions`, named `m<number>_<what it does>.py`, with the variables `revision`
and `down_revision` and a function `upgrade(op: Operations)`. Alembic's global `alembic.op` is not used:
two databases may be opened at the same time in one process. A released revision is never edited, and
there is no way down: data would be lost.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from lightspeed.errors import StartupError

# Not Alembic's usual name: another program in the same database may have that one.
VERSION_TABLE = "lightspeed_version"


class Migrations:
    """All revisions, read from disk when it is made; after that no file is touched."""

    def __init__(self, versions: Path = Path(__file__).parent / "versions") -> None:
        self._script = ScriptDirectory(versions, version_locations=[versions])
        self._script.get_heads()

    def upgrade(self, connection: Connection) -> None:
        """Bring the tables to the newest revision within the connection's transaction.

        Raises StartupError if a newer version of the service has written the database.
        """
        context = MigrationContext.configure(
            connection, opts={"fn": self._steps, "version_table": VERSION_TABLE}
        )
        try:
            context.run_migrations(op=Operations(context))
        except CommandError as error:
            raise StartupError(f"The database does not fit this version of the service: {error}") from None

    def _steps(self, current: Any, _: MigrationContext) -> Iterable[Any]:
        return self._script._upgrade_revs("head", current)
