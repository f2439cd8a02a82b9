"""SKILL.md: what a skill says of itself, and its instructions. The format is that of https://agentskills.io."""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from lightspeed.configuration.document import parse_document
from lightspeed.errors import ConfigurationError

logger = logging.getLogger(__name__)

_PARTS = re.compile(r"---[ \t]*\n(?P<head>.*?)^---[ \t]*(?:\n|\Z)(?P<body>.*)", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LONGEST_NAME = 64  # characters
_LONGEST_DESCRIPTION = 1024
_LONGEST_COMPATIBILITY = 500
_FIELDS = frozenset({"name", "description", "license", "compatibility", "metadata", "allowed-tools"})


@dataclass(frozen=True, slots=True)
class Manifest:
    """The parts of SKILL.md that are used; `instructions` is Markdown."""

    name: str
    description: str
    instructions: str

    @classmethod
    def parsed(cls, text: str, directory: str) -> Self:
        """Read the text of a SKILL.md that lies in the directory of this name.

        Raises ConfigurationError with a line for each mistake.
        """
        parts = _PARTS.match(text.replace("\r\n", "\n"))
        if parts is None:
            raise ConfigurationError("must begin with a block of fields between two lines `---`")
        # The empty line stands for the one with `---`, so that mistakes are told with the lines of the file.
        fields = parse_document("\n" + parts["head"])
        if not isinstance(fields, Mapping):
            raise ConfigurationError(
                "the block between the lines `---` must be a mapping of fields to values"
            )
        if problems := list(_problems(fields, directory)):
            raise ConfigurationError(problems)
        if unknown := sorted(str(key) for key in fields if key not in _FIELDS):
            logger.warning("Skill %s: unknown fields are ignored: %s", fields["name"], ", ".join(unknown))
        return cls(fields["name"], fields["description"].strip(), parts["body"].strip())


def _problems(fields: Mapping[Any, Any], directory: str) -> Iterator[str]:
    yield from _text(fields, "name", _LONGEST_NAME, required=True)
    name = fields.get("name")
    if isinstance(name, str) and name.strip():
        if not _NAME.fullmatch(name):
            yield "name: may hold only `a` to `z`, digits, and single hyphens between them"
        elif name != directory:
            yield "name: must be the name of the skill's directory"
    yield from _text(fields, "description", _LONGEST_DESCRIPTION, required=True)
    yield from _text(fields, "license", None)
    yield from _text(fields, "compatibility", _LONGEST_COMPATIBILITY)
    metadata = fields.get("metadata", {})
    if not isinstance(metadata, Mapping):
        yield "metadata: must be a mapping of keys to values"
    else:
        for key, value in metadata.items():
            if not isinstance(key, str):
                yield "metadata: must have keys that are text"
            elif not isinstance(value, str):
                yield f"metadata.{key}: must be text; put the value in quotes"
    tools = fields.get("allowed-tools", "")
    if not isinstance(tools, str) and not (
        isinstance(tools, list) and all(isinstance(tool, str) for tool in tools)
    ):
        yield "allowed-tools: must be text"


def _text(
    fields: Mapping[Any, Any], field: str, longest: int | None, *, required: bool = False
) -> Iterator[str]:
    if field not in fields:
        if required:
            yield f"{field}: is required"
        return
    value = fields[field]
    if value is None or value == "" or (isinstance(value, str) and not value.strip()):
        yield f"{field}: must not be empty"
    elif not isinstance(value, str):
        yield f"{field}: must be text; put the value in quotes"
    elif longest is not None and len(value.strip()) > longest:
        yield f"{field}: must not have more than {longest} characters"
