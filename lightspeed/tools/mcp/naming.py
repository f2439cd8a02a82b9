"""Names of tools towards the model: unique in a turn, and of the kind that providers take."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Sequence

_VALID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_INVALID_CHARACTER = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST = 64


def model_names(tools: Sequence[tuple[str, str]], reserved: Collection[str] = ()) -> list[str]:
    """A name for each (server, tool), in order.

    A tool keeps its own name where that is valid, not reserved, and of no other tool; else it is
    `<server>__<tool>`, where need be with a digest at its end. The same pair has the same name whatever the order.
    """
    counts = Counter(tool for _, tool in tools)
    taken = set(reserved)
    own = {
        tool for tool, count in counts.items() if count == 1 and tool not in taken and _VALID.fullmatch(tool)
    }
    taken |= own
    spelled = Counter(_joined(server, tool) for server, tool in tools if tool not in own)
    names = []
    for server, tool in tools:
        if tool in own:
            names.append(tool)
            continue
        name = _joined(server, tool)
        if len(name) > _LONGEST or name in taken or spelled[name] > 1:
            digest = hashlib.sha256(f"{server}\n{tool}".encode()).hexdigest()[:8]
            name = f"{name[: _LONGEST - 9]}_{digest}"
        taken.add(name)
        names.append(name)
    return names


def _joined(server: str, tool: str) -> str:
    return _INVALID_CHARACTER.sub("_", f"{server}__{tool}")
