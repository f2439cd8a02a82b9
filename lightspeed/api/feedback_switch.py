"""Whether feedback is kept, the same for all processes of the service."""

from typing import Protocol

from lightspeed.errors import StorageError

_NAME = "feedback"


class Switches(Protocol):
    """Where switches are kept. Both methods raise StorageError."""

    async def get(self, name: str) -> bool | None: ...
    async def set(self, name: str, enabled: bool) -> None: ...


class FeedbackSwitch:
    """What an administrator has switched, else what the configuration says.

    While the database is away it stays as it was last seen.
    """

    def __init__(self, *, configured: bool) -> None:
        self._configured = configured
        self._last_seen = configured

    async def enabled(self, switches: Switches) -> bool:
        try:
            position = await switches.get(_NAME)
        except StorageError:
            return self._last_seen
        self._last_seen = self._configured if position is None else position
        return self._last_seen

    async def turn(self, switches: Switches, *, on: bool) -> bool:
        """Switch, and return the position before. Raises StorageError."""
        before = await self.enabled(switches)
        await switches.set(_NAME, on)
        self._last_seen = on
        return before
