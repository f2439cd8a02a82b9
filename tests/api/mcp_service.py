"""The endpoints about MCP servers, with a real database behind them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request

from lightspeed.api import mcp_auth, mcp_servers, tools
from lightspeed.api.errors import exception_handlers
from lightspeed.api.gates import Gates
from lightspeed.api.routing import routes
from lightspeed.configuration.root import Configuration
from lightspeed.identity.authentication import Authentication
from lightspeed.storage.database import Database
from lightspeed.storage.mcp_servers import RegisteredServers
from tests.api.conftest import rules
from tests.api.declared_api import authenticate, client

ENDPOINTS = (*mcp_servers.ENDPOINTS, *mcp_auth.ENDPOINTS, *tools.ENDPOINTS)
JWK = {"module": "jwk-token", "jwk_config": {"url": "https://keys.example/jwks"}}


def configured(**sections: Any) -> Configuration:
    least = {"name": "n", "service": {}, "llama_stack": {"url": "http://stack"}, "user_data_collection": {}}
    return Configuration.model_validate(least | sections)


def open_for_all(**settings: Any) -> dict[str, Any]:
    """A section that lets users add servers on this machine."""
    hosts = {"allowed_hosts": ["*.example.com", "127.0.0.1", "localhost"], "allow_private": True}
    return {"enabled": True} | hosts | settings


class NoKnowledge:
    async def tool_stores(self, *_: object) -> Sequence[str]:
        return ()


@dataclass
class McpService:
    app: Starlette
    servers: RegisteredServers

    def user(self, name: str | None) -> httpx.AsyncClient:
        return client(self.app, name)


def mcp_service(
    configuration: Configuration,
    servers: RegisteredServers,
    toolbox: Any = None,
    skills: Any = None,
    *,
    authenticate: Authentication = authenticate,
) -> McpService:
    services = SimpleNamespace(
        mcp_servers=servers,
        tools=toolbox,
        skills=skills,
        knowledge=SimpleNamespace(search=NoKnowledge()),
        configuration=configuration,
    )
    runtime = SimpleNamespace(configuration=configuration, services=services)

    def found(_: Request) -> Any:
        return runtime

    gates = Gates(authenticate, rules, found)
    return McpService(
        Starlette(routes=routes(ENDPOINTS, gates), exception_handlers=exception_handlers()), servers
    )


@asynccontextmanager
async def registered_servers() -> AsyncIterator[RegisteredServers]:
    database = Database.in_memory()
    await database.open()
    try:
        yield RegisteredServers(database)
    finally:
        await database.close()
