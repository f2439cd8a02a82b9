"""MCP servers: those of the configuration are there for everyone, and each user may add some of their own."""

from datetime import UTC, datetime
from importlib import import_module
from typing import Final, Literal

import anyio
from anyio import to_thread
from pydantic import BaseModel, Field

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.mcp_registration import MCPServerRegistrationRequest
from lightspeed.configuration.root import Configuration
from lightspeed.errors import Conflict, Forbidden, StorageError, Unprocessable
from lightspeed.identity.actions import Action
from lightspeed.storage.registered_server import RegisteredServer
from lightspeed.tools.mcp.server import MODULES_WITH_KUBERNETES_TOKEN, McpServer, usable_servers
from lightspeed.tools.user_servers import mcp_server

_TAGS = ("mcp-servers",)
_PATH = "/v1/mcp-servers"
_LONGEST_LOOKUP: Final = 5.0  # seconds


class MCPServerRegistrationResponse(BaseModel):
    name: str
    url: str
    provider_id: str
    message: str = Field(examples=["MCP server 'tickets' registered successfully"])


class MCPServerInfo(BaseModel):
    """`source` is `config` for a server of the configuration file, and `api` for one that was added."""

    name: str
    url: str
    provider_id: str
    source: Literal["config", "api"]


class MCPServerListResponse(BaseModel):
    servers: list[MCPServerInfo]


class MCPServerDeleteResponse(BaseModel):
    deleted: bool
    name: str
    response: str


async def list_servers(call: Call) -> MCPServerListResponse:
    configuration, user_id = call.services.configuration, call.principal.user_id
    names = configured_names(configuration)
    found = [_info(server, server.shown_url) for server in usable_servers(configuration)[0]]
    for row in await call.services.services.mcp_servers.owned(
        None if call.permits(Action.ADMIN) else user_id
    ):
        if row.name not in names:
            server = mcp_server(row)
            found.append(_info(server, server.url if row.user_id == user_id else server.shown_url))
    return MCPServerListResponse(servers=found)


async def register_server(call: Call[MCPServerRegistrationRequest]) -> MCPServerRegistrationResponse:
    body, configuration = call.body, call.services.configuration
    if "kubernetes" in (body.authorization_headers or {}).values():
        _check_caller_token(configuration)
    if body.name in configured_names(configuration):
        raise _taken(body.name)
    await _check_address(body.url, configuration)
    limit = configuration.mcp_registration.max_servers_per_user
    server = RegisteredServer(
        name=body.name,
        user_id=call.principal.user_id,
        url=body.url,
        provider_id=body.provider_id,
        created_at=datetime.now(UTC),
        authorization_headers=body.authorization_headers or {},
        headers=tuple(body.headers or ()),
        timeout=body.timeout,
    )
    match await call.services.services.mcp_servers.add(server, limit=limit):
        case "taken":
            raise _taken(body.name)
        case "full":
            raise Unprocessable(
                f"A user may have {limit} MCP servers at most; delete one first.",
                response="Too many MCP servers",
            )
    return MCPServerRegistrationResponse(
        name=body.name,
        url=body.url,
        provider_id=body.provider_id,
        message=f"MCP server '{body.name}' registered successfully",
    )


async def delete_server(call: Call) -> MCPServerDeleteResponse:
    name = call.path["name"]
    user_id = None if call.permits(Action.ADMIN) else call.principal.user_id
    # First, so that a server whose name the configuration has taken later can be removed.
    deleted = await call.services.services.mcp_servers.remove(name, user_id)
    if not deleted and name in configured_names(call.services.configuration):
        raise Forbidden(
            f"MCP server '{name}' is defined in configuration and cannot be removed via the API.",
            response="Cannot delete statically configured MCP server",
        )
    return MCPServerDeleteResponse(
        deleted=deleted,
        name=name,
        response="MCP server deleted successfully" if deleted else "MCP server not found",
    )


async def refuse_if_disabled(call: Call) -> None:
    """Raises Forbidden where users may not add servers."""
    if not call.services.configuration.mcp_registration.enabled:
        raise Forbidden(
            "Users may add MCP servers only if `mcp_registration.enabled` is true in the configuration.",
            response="MCP server registration is disabled",
        )


def configured_names(configuration: Configuration) -> frozenset[str]:
    """The names that nobody else can take."""
    return frozenset(server.name for server in configuration.mcp_servers)


def _info(server: McpServer, url: str) -> MCPServerInfo:
    return MCPServerInfo(name=server.name, url=url, provider_id=server.provider_id, source=server.source)


def _check_caller_token(configuration: Configuration) -> None:
    module = configuration.authentication.module
    if module not in MODULES_WITH_KUBERNETES_TOKEN:
        raise Unprocessable(
            f"`kubernetes` needs the authentication module `k8s` or `noop-with-token`; this service uses `{module}`.",
            response="Invalid authorization header",
        )


async def _check_address(address: str, configuration: Configuration) -> None:
    """Raises Unprocessable. A host that is unknown now may be known later; each connection is checked anyway."""
    # Imported when it is needed: it knows HTTP, which the start of the service does not wait for.
    await to_thread.run_sync(import_module, "lightspeed.tools.address_policy")
    from lightspeed.tools.address_policy import AddressRefused, registration_policy

    policy = registration_policy(configuration.mcp_registration)
    try:
        url = policy.url(address)
        with anyio.move_on_after(_LONGEST_LOOKUP):
            await policy.addresses(url)
    except AddressRefused as refused:
        raise Unprocessable(f"The URL {refused}.", response="Invalid URL of an MCP server") from None
    except OSError:
        return


def _taken(name: str) -> Conflict:
    return Conflict(
        f"Mcp Server with name '{name}' is already registered", response="Mcp Server already exists"
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        _PATH,
        list_servers,
        action=Action.LIST_MCP_SERVERS,
        tags=_TAGS,
        summary="List MCP servers",
        description="Those of the configuration and your own; with the action `admin` everyone's.",
        response=MCPServerListResponse,
        errors=(StorageError,),
    ),
    Endpoint(
        "POST",
        _PATH,
        register_server,
        action=Action.REGISTER_MCP_SERVER,
        tags=_TAGS,
        summary="Add an MCP server of your own",
        precondition=refuse_if_disabled,
        request=MCPServerRegistrationRequest,
        response=MCPServerRegistrationResponse,
        status=201,
        errors=(Conflict, Forbidden, Unprocessable, StorageError),
    ),
    Endpoint(
        "DELETE",
        _PATH + "/{name}",
        delete_server,
        action=Action.DELETE_MCP_SERVER,
        tags=_TAGS,
        summary="Remove an MCP server that was added",
        response=MCPServerDeleteResponse,
        errors=(Forbidden, StorageError),
    ),
)
