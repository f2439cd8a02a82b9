"""Name, versions and the front page."""

from html import escape
from importlib.metadata import version

from anyio import to_thread
from pydantic import BaseModel
from starlette.responses import HTMLResponse

from lightspeed import __version__
from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.identity.actions import Action
from lightspeed.stack.stack import Stack

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{name}</title></head>
<body>
<h1>{name}</h1>
<p>This service answers questions about a product from that product's documents.</p>
<ul>
<li><a href="docs">Try the API</a></li>
<li><a href="openapi.json">OpenAPI description</a></li>
<li><a href="readiness">Readiness</a></li>
</ul>
</body>
</html>
"""


class Info(BaseModel):
    name: str
    service_version: str
    llama_stack_version: str


async def info(call: Call) -> Info:
    return Info(
        name=call.services.configuration.name,
        service_version=__version__,
        llama_stack_version=await _stack_version(call),
    )


async def _stack_version(call: Call) -> str:
    if call.services.plan.uses_server:
        stack: Stack = call.services.services.stack
        return await stack.version()
    # Known also while the stack is still being loaded.
    return await to_thread.run_sync(version, "llama-stack")


async def front_page(call: Call) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(name=escape(call.services.configuration.name)))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/info",
        info,
        action=Action.INFO,
        tags=("info",),
        summary="Name and versions",
        response=Info,
    ),
    Endpoint(
        "GET",
        "/",
        front_page,
        action=Action.INFO,
        tags=("info",),
        summary="The front page",
        media_types=("text/html",),
    ),
)
