"""Toolboxes for tests, and what is asked of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from lightspeed.tools.caller import Caller
from lightspeed.tools.mcp.server import McpServer
from lightspeed.tools.mcp.toolbox import McpToolbox
from lightspeed.tools.tool import Offer, ToolOutcome

NOBODY = Caller("u")


@asynccontextmanager
async def toolbox(*servers: McpServer, **options: Any) -> AsyncIterator[McpToolbox]:
    made = McpToolbox(servers, **options)
    try:
        yield made
    finally:
        await made.close()


def by_name(offer: Offer) -> dict[str, Any]:
    return {one.name: one for one in offer.tools}


async def call(offer: Offer, name: str, **arguments: Any) -> ToolOutcome:
    outcome: ToolOutcome = await by_name(offer)[name].call(arguments)
    return outcome


async def has(box: McpToolbox, *names: str) -> bool:
    return set(names) <= set(by_name(await box.offered(NOBODY)))


async def wait_until(ready: Callable[[], bool | Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = ready()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)
