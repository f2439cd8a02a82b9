"""Results of MCP tools as text for people and models."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lightspeed.tools.mcp.wording import harmless, one_line
from lightspeed.tools.tool import ToolOutcome


def outcome_of(result: Mapping[str, Any], most: int) -> ToolOutcome:
    """A result of the protocol; its text has at most `most` characters, and a mark where it was cut."""
    parts = list(_texts(result))
    if result.get("structuredContent") is not None and not any(text for _, text in parts):
        parts.append((True, json.dumps(result["structuredContent"], ensure_ascii=False)))
    text = _cut("\n".join(text for _, text in parts), most)
    if result.get("isError"):
        return failure(text or "The tool failed and gave no reason.")
    return ToolOutcome("success", text, text or "The tool returned nothing.")


def failure(text: str) -> ToolOutcome:
    return ToolOutcome("failure", text, f"Error: {text}")


def _texts(result: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    """Each part of the content; whether it is its own text, or only names what it is."""
    for part in result.get("content") or ():
        kind = part.get("type")
        if kind == "text":
            yield True, str(part.get("text", ""))
        elif kind in ("image", "audio"):
            yield False, _named(kind, part.get("mimeType"), part.get("data"))
        elif kind == "resource_link":
            yield False, f"[link: {one_line(str(part.get('name', '')))} {one_line(str(part.get('uri', '')))}]"
        elif kind == "resource":
            resource = part.get("resource") or {}
            if "text" in resource:
                yield True, str(resource["text"])
            else:
                name = f"resource {one_line(str(resource.get('uri', '')))}"
                yield False, _named(name, resource.get("mimeType"), resource.get("blob"))
        else:
            yield False, f"[{one_line(str(kind))}]"


def _named(name: str, media_type: Any, base64: Any) -> str:
    size = len(str(base64 or "").rstrip("=")) * 3 // 4
    return f"[{name}: {one_line(str(media_type or 'unknown type'))}, {size} bytes]"


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return harmless(text)
    return f"{harmless(text[:most])}\n[cut: {most} of {len(text)} characters]"
