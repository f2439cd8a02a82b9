"""What an administrator has switched while the service runs, the same for all its processes."""

from sqlalchemy import bindparam, select

from lightspeed.storage.database import Database
from lightspeed.storage.schema import switches
from lightspeed.storage.upsert import put

_READ = select(switches.c.enabled).where(switches.c.name == bindparam("switch"))


class Switches:
    """Switches by name. All methods raise StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> bool | None:
        """The position of a switch, or None if nobody has touched it."""
        return await self._database.read(
            lambda connection: connection.execute(_READ, {"switch": name}).scalar_one_or_none()
        )

    async def set(self, name: str, enabled: bool) -> None:
        row = {"name": name, "enabled": enabled}
        await self._database.write(lambda connection: put(connection, switches, row))
