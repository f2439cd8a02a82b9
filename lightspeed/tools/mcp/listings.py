"""The tools of all servers, remembered; and which servers are away."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass

from lightspeed.tools.mcp.failure import McpFailure
from lightspeed.tools.mcp.headers import ResolvedHeaders
from lightspeed.tools.mcp.server import McpServer
from lightspeed.tools.tool import ListedTool

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 300.0  # seconds before a server that failed is asked again
_MOST_LISTS = 1024

type Tools = tuple[ListedTool, ...]
type Answer = Tools | McpFailure
type Load = Callable[[McpServer, ResolvedHeaders], Awaitable[Tools]]


@dataclass(slots=True)
class _Setback:
    """When a failed server may be asked again. Each failure doubles the pause."""

    failure: McpFailure
    retry_at: float
    count: int = 1

    def again(self, failure: McpFailure, now: float) -> "_Setback":
        pause = min(FIRST_PAUSE * 2 ** min(self.count, 10), LONGEST_PAUSE)
        return _Setback(failure, now + pause, self.count + 1)


@dataclass(slots=True)
class _Entry:
    """What is known of one server with one set of headers."""

    tools: Tools | None = None
    loaded_at: float = 0.0
    changed: bool = False
    setback: _Setback | None = None
    loading: "asyncio.Task[Answer] | None" = None
    loading_since: float = 0.0


class Listings:
    """A turn waits for a list only if it is not known yet, and never for a server that is known to be away.

    A list serves for `tool_list_seconds`, and as long again while it is loaded anew. The wait for a list that is not
    known ends `patience` seconds after its loading began, whichever turn has begun it; it goes on loading, and until it
    ends nobody waits for that server, whatever the credentials. Servers that failed are asked again after a pause that
    grows, while turns go on without them.
    """

    def __init__(
        self, load: Load, *, patience: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._patience = patience
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._away: dict[tuple[str, str], _Setback] = {}
        self._late: dict[tuple[str, str], asyncio.Task[Answer]] = {}
        self._tasks: set[asyncio.Task[Answer]] = set()

    async def tools(self, server: McpServer, headers: ResolvedHeaders) -> Answer:
        """The list, or why it is missing."""
        known = self.known(server, headers)
        if not isinstance(known, asyncio.Task):
            return known
        entry = self._entry(headers.digest(server))
        late = server.place in self._late
        patience = 0.0 if late else entry.loading_since + self._patience - self._clock()
        done, _ = await asyncio.wait({known}, timeout=max(patience, 0.0))
        if known.cancelled():
            return McpFailure("gone", "is not asked any more, for the service stops")
        if done:
            return known.result()
        self._waited_enough(server.place, known)
        if entry.tools is not None:
            return entry.tools
        return McpFailure("slow", "has not listed its tools yet")

    def _waited_enough(self, place: tuple[str, str], task: "asyncio.Task[Answer]") -> None:
        """One turn has waited in vain: the next ones need not, until that loading has ended."""

        def ended(_: object) -> None:
            if self._late.get(place) is task:
                del self._late[place]

        if place not in self._late:
            self._late[place] = task
            task.add_done_callback(ended)

    def known(self, server: McpServer, headers: ResolvedHeaders) -> "Answer | asyncio.Task[Answer]":
        """The list, why it is missing, or the task that loads it and shall be waited for."""
        entry = self._entry(headers.digest(server))
        now = self._clock()
        setback = self._away.get(server.place) or entry.setback
        if setback is not None:
            if now < setback.retry_at:
                return setback.failure
            task = self._begin(server, headers, entry)
            # A login is what a turn waits for; a server that is away would only delay it.
            if setback.failure.kind == "unauthorized":
                return task
            return setback.failure
        age = now - entry.loaded_at
        if entry.tools is None or entry.changed or age > 2 * server.tool_list_seconds:
            return self._begin(server, headers, entry)
        if age > server.tool_list_seconds:
            self._begin(server, headers, entry)
        return entry.tools

    def begin(self, server: McpServer, headers: ResolvedHeaders) -> None:
        """Load a list before anyone asks for it."""
        self._begin(server, headers, self._entry(headers.digest(server)))

    def probe(self, server: McpServer, headers: ResolvedHeaders) -> None:
        """Find out whether a server is away before anyone asks it, with headers that may not be enough for more."""
        task = asyncio.create_task(
            self._probed(server, headers), name=f"probe of {server.name}", context=Context()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def changed(self, digest: str) -> None:
        """The server has told that its list is another one now."""
        if (entry := self._entries.get(digest)) is not None:
            entry.changed = True

    def failed(self, server: McpServer, headers: ResolvedHeaders, failure: McpFailure) -> None:
        """A call has failed. One that tells something of the server itself counts as a failed list."""
        if failure.kind in {"unauthorized", "unreachable"}:
            self._note(server, self._entry(headers.digest(server)), failure)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _entry(self, digest: str) -> _Entry:
        entry = self._entries.setdefault(digest, _Entry())
        self._entries.move_to_end(digest)
        if len(self._entries) > _MOST_LISTS:
            oldest = next(iter(self._entries))
            if self._entries[oldest].loading is None:
                del self._entries[oldest]
        return entry

    def _begin(self, server: McpServer, headers: ResolvedHeaders, entry: _Entry) -> "asyncio.Task[Answer]":
        if entry.loading is None:
            entry.loading_since = self._clock()
            entry.loading = asyncio.create_task(
                self._loaded(server, headers, entry), name=f"tools of {server.name}", context=Context()
            )
            self._tasks.add(entry.loading)
            entry.loading.add_done_callback(self._tasks.discard)
        return entry.loading

    async def _loaded(self, server: McpServer, headers: ResolvedHeaders, entry: _Entry) -> Answer:
        entry.changed = False
        try:
            tools = await self._load(server, headers)
        except McpFailure as failure:
            return self._note(server, entry, failure)
        except Exception:
            logger.exception("The tools of MCP server '%s' cannot be listed", server.name)
            return self._note(server, entry, McpFailure("garbled", "lists tools that cannot be read"))
        else:
            if entry.setback is not None or server.place in self._away:
                logger.info("MCP server '%s' is back", server.name)
            entry.tools, entry.loaded_at, entry.setback = tools, self._clock(), None
            self._away.pop(server.place, None)
            return tools
        finally:
            entry.loading = None

    async def _probed(self, server: McpServer, headers: ResolvedHeaders) -> Answer:
        try:
            return await self._load(server, headers)
        except McpFailure as failure:
            if failure.of_the_server:
                return self._note(server, self._entry(headers.digest(server)), failure)
            return failure
        except Exception as error:
            logger.debug("The probe of MCP server '%s' failed", server.name, exc_info=error)
            return McpFailure("garbled", "answers what cannot be read")

    def _note(self, server: McpServer, entry: _Entry, failure: McpFailure) -> McpFailure:
        failure = failure.with_traceback(None)  # It is kept, and would keep all that was there.
        now = self._clock()
        entry.tools = None
        before = self._away.get(server.place) if failure.of_the_server else entry.setback
        setback = before.again(failure, now) if before is not None else _Setback(failure, now + FIRST_PAUSE)
        if failure.kind == "unauthorized":
            setback.retry_at = now + FIRST_PAUSE
        if failure.of_the_server:
            self._away[server.place] = setback
            if len(self._away) > _MOST_LISTS:
                del self._away[next(iter(self._away))]
        else:
            entry.setback = setback
        if before is None:
            logger.warning("MCP server '%s' %s", server.name, failure.reason)
        return failure
