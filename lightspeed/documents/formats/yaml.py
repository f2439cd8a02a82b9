"""YAML: keys become headings, values stay as they are written; nothing is constructed from tags."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lightspeed.documents.formats.encoding import decode
from lightspeed.documents.formats.format import Content, Format, FormatError
from lightspeed.documents.formats.tree import MOST_NESTED, Branch, Node, content_of

if TYPE_CHECKING:
    from yaml import MarkedYAMLError


def read(data: bytes) -> Content:
    return content_of(list(yaml_trees(decode(data).removeprefix("\ufeff"))), data)


def yaml_trees(text: str) -> Iterator[Node]:
    """The documents in a stream. Raises FormatError."""
    import yaml

    try:
        yield from _trees(text)
    except yaml.MarkedYAMLError as error:
        raise FormatError(f"broken YAML: {_cause(error)}") from error
    except yaml.YAMLError as error:
        raise FormatError("broken YAML: characters that YAML does not allow") from error


def _trees(text: str) -> Iterator[Node]:
    """Built from the parser's events: its own builder is recursive, and constructs what tags ask for."""
    import yaml
    from yaml import events

    # The parser of libyaml is about ten times as fast, where it is there.
    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    builder = _Builder()
    for event in yaml.parse(text, Loader=loader):
        match event:
            case events.DocumentStartEvent():
                builder = _Builder()
            case events.ScalarEvent():
                builder.add(_scalar(event), event.anchor)
            case events.AliasEvent():
                builder.refer(event.anchor or "")
            case events.MappingStartEvent():
                builder.open(Branch([]), event.anchor)
            case events.SequenceStartEvent():
                builder.open(Branch(None), event.anchor)
            case events.MappingEndEvent() | events.SequenceEndEvent():
                builder.close()
            case events.DocumentEndEvent():
                if builder.root is not None and builder.root != "":
                    yield builder.root


class _Builder:
    """Makes the tree of one document."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[tuple[Branch, str | None]] = []
        self._anchors: dict[str, Node] = {}

    def add(self, node: Node, anchor: str | None = None) -> None:
        if anchor and isinstance(node, str):
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        branch, _ = self._open[-1]
        if branch.keys is not None and len(branch.keys) == len(branch.values):
            branch.keys.append(node if isinstance(node, str) else "?")
        else:
            branch.values.append(node)

    def refer(self, anchor: str) -> None:
        # An anchor that is not closed yet contains this very reference.
        self.add(self._anchors.get(anchor, f"*{anchor}"))

    def open(self, branch: Branch, anchor: str | None) -> None:
        if len(self._open) >= MOST_NESTED:
            raise FormatError(f"nested more than {MOST_NESTED} levels deep")
        self._open.append((branch, anchor))

    def close(self) -> None:
        branch, anchor = self._open.pop()
        branch.close()
        if anchor:
            self._anchors[anchor] = branch
        self.add(branch)


def _scalar(event: Any) -> str:
    plain_null = not event.style and event.value in ("~", "null", "Null", "NULL")
    return "" if plain_null else str(event.value)


def _cause(error: "MarkedYAMLError") -> str:
    mark = error.problem_mark
    return f"{error.problem or 'not readable'}{f' in line {mark.line + 1}' if mark else ''}"


FORMAT = Format(suffixes=frozenset({".yaml", ".yml"}), read=read)
