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


def listed_tools(server_label: str, raw: Iterable[Mapping[str, Any]]) -> tuple[ListedTool, ...]:
    """The tools of a list of the protocol; without those of a name that was there, and those that are too large."""
    found: dict[str, ListedTool] = {}
    dropped = 0
    for tool in raw:
        name = str(tool.get("name", ""))
        schema = json.dumps(tool.get("inputSchema") or {}, ensure_ascii=False)
        if not name or len(name) > _LONGEST_NAME or name in found or len(schema) > _LARGEST_SCHEMA:
            dropped += 1
            continue
        description = str(tool.get("description") or tool.get("title") or "")
        if len(description) > _LONGEST_DESCRIPTION:
            description = description[: _LONGEST_DESCRIPTION - 3] + "..."
        found[name] = ListedTool(name, harmless(description), _object_schema(json.loads(schema)))
    if dropped:
        logger.warning(
            "MCP server '%s' lists %d tools that are left out: too large, or of a name that is taken",
            one_line(server_label),
            dropped,
        )
    return tuple(found.values())


def _object_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Providers insist on the type and the properties, which servers may leave out."""
    return {"type": "object", "properties": {}} | schema
