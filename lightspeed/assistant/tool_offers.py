"""Asking for the tools of a turn, while other things are prepared."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from lightspeed.errors import RequestError
from lightspeed.tools.caller import Caller
from lightspeed.tools.tool import Offer, Tool, ToolListing, ToolSource, ToolTrouble

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OfferedTools:
    """The tools of all sources in their order, each name once."""

    tools: tuple[Tool, ...] = ()
    troubles: tuple[ToolTrouble, ...] = ()
    listings: tuple[ToolListing, ...] = ()


class ToolOffers:
    """Asks all sources at once from `async with` on; who leaves early asks no more."""

    def __init__(self, sources: Sequence[ToolSource], caller: Caller) -> None:
        self._sources = sources
        self._caller = caller
        self._tasks: list[asyncio.Task[Offer]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(_offered(source, self._caller)) for source in self._sources]
        for task in self._tasks:
            task.add_done_callback(_retrieve)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()

    async def all(self, own: Sequence[Tool] = ()) -> OfferedTools:
        """What all sources offer, after the service's `own` tools, whose names nobody else may have.

        Raises Unauthorized where a server wants the caller to log in.
        """
        if not self._tasks:
            return OfferedTools(tuple(own))
        tools = {tool.name: tool for tool in own}
        troubles: list[ToolTrouble] = []
        listings: list[ToolListing] = []
        for offer in await asyncio.gather(*self._tasks):
            for tool in offer.tools:
                if tools.setdefault(tool.name, tool) is not tool:
                    logger.warning("A tool is left out, because another has its name: %s", tool.name)
            troubles += offer.troubles
            listings += offer.listings
        return OfferedTools(tuple(tools.values()), tuple(troubles), tuple(listings))


async def _offered(source: ToolSource, caller: Caller) -> Offer:
    """A source that is at fault costs its own tools; what is wrong with the request is told.

    Troubles of single servers are logged by their source, which knows when they begin.
    """
    try:
        return await source.offered(caller)
    except RequestError as error:
        if error.status < 500:
            raise
        logger.warning("A source of tools failed: %s", error)
        return _nothing(error.response)
    except Exception:
        logger.exception("A source of tools failed")
        return _nothing("The tools could not be looked up.")


def _nothing(message: str) -> Offer:
    return Offer(troubles=(ToolTrouble("tools", "unreachable", message),))


def _retrieve(task: asyncio.Task[Offer]) -> None:
    """Spare asyncio's complaint about an error that nobody has waited for."""
    if not task.cancelled():
        task.exception()
