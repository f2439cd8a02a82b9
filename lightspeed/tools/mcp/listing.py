"""What servers list, checked before a model sees it."""

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from lightspeed.tools.mcp.wording import harmless, one_line
from lightspeed.tools.tool import ListedTool

logger = logging.getLogger(__name__)

_LONGEST_NAME = 256
_LONGEST_DESCRIPTION = 8_192
_LARGEST_SCHEMA = 64 * 1024  # characters of JSON
_LARGEST_LIST = 512 * 1024  # characters of names, descriptions and schemas
_INSISTED = frozenset({"type", "properties", "required"})


def listed_tools(server_label: str, raw: Iterable[Mapping[str, Any]]) -> tuple[ListedTool, ...]:
    """The tools of a list of the protocol.

    Left out are those of a name that was there or cannot be shown, those that are too large, and those whose schema
    is not of an object: a provider that checks schemas would refuse the whole question for one of them. So are those
    that come after 512 Ki characters, for each question takes the list to the model, the client and the database.
    """
    found: dict[str, ListedTool] = {}
    dropped = size = 0
    for tool in raw:
        name = str(tool.get("name", ""))
        schema = json.dumps(tool.get("inputSchema") or {}, ensure_ascii=False)
        if not _is_name(name) or name in found or len(schema) > _LARGEST_SCHEMA:
            dropped += 1
            continue
        read = _object_schema(json.loads(schema))
        if not _is_of_an_object(read):
            dropped += 1
            continue
        description = str(tool.get("description") or tool.get("title") or "")
        if len(description) > _LONGEST_DESCRIPTION:
            description = description[: _LONGEST_DESCRIPTION - 3] + "..."
        size += len(name) + len(description) + len(schema)
        if size > _LARGEST_LIST:
            dropped += 1
            continue
        found[name] = ListedTool(name, harmless(description), read)
    if dropped:
        logger.warning(
            "MCP server '%s' lists %d tools that are left out: too large or too many, or of a wrong name or schema",
            one_line(server_label),
            dropped,
        )
    return tuple(found.values())


def _is_name(name: str) -> bool:
    return bool(name) and len(name) <= _LONGEST_NAME and name.isprintable()


def _object_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Providers insist on the type and the properties, which servers may leave out."""
    given = {key: value for key, value in schema.items() if value is not None or key not in _INSISTED}
    return {"type": "object", "properties": {}} | given


def _is_of_an_object(schema: Mapping[str, Any]) -> bool:
    properties, required = schema["properties"], schema.get("required", [])
    return (
        schema["type"] == "object"
        and isinstance(properties, dict)
        and all(isinstance(given, dict | bool) for given in properties.values())
        and isinstance(required, list)
        and all(isinstance(name, str) for name in required)
    )
