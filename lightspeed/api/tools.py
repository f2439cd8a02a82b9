"""GET /v1/tools."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.assistant.knowledge_tool import KnowledgeTool
from lightspeed.identity.actions import Action
from lightspeed.retrieval.okp.request import PortalQuery
from lightspeed.tools.tool import Tool

BUILT_IN = "builtin"


class ToolParameter(BaseModel):
    name: str
    description: str
    parameter_type: str
    required: bool
    default: Any = None


class ToolDescription(BaseModel):
    """`server_source` is the address of an MCP server, or `builtin`."""

    identifier: str
    description: str
    parameters: list[ToolParameter]
    provider_id: str
    toolgroup_id: str
    server_source: str
    type: str = "tool"


class ToolsResponse(BaseModel):
    tools: list[ToolDescription]


async def tools(call: Call) -> ToolsResponse:
    """What the model may call when this caller asks."""
    search = call.services.services.knowledge.search
    stores = await search.tool_stores(None, call.principal.user_id)
    found = [KnowledgeTool(search, stores, PortalQuery())] if stores else []
    return ToolsResponse(tools=[_built_in(tool) for tool in found])


def _built_in(tool: Tool) -> ToolDescription:
    function = tool.definition["function"]
    return ToolDescription(
        identifier=tool.name,
        description=function["description"],
        parameters=list(_parameters(function["parameters"])),
        provider_id="lightspeed",
        toolgroup_id=f"{BUILT_IN}::{tool.name}",
        server_source=BUILT_IN,
    )


def _parameters(schema: Mapping[str, Any]) -> Iterator[ToolParameter]:
    required = schema.get("required", ())
    for name, property_ in schema.get("properties", {}).items():
        yield ToolParameter(
            name=name,
            description=property_.get("description", ""),
            parameter_type=str(property_.get("type", "string")),
            required=name in required,
            default=property_.get("default"),
        )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/tools",
        tools,
        action=Action.GET_TOOLS,
        tags=("catalogue",),
        summary="The tools that the model may use for the caller's questions",
        response=ToolsResponse,
    ),
)
