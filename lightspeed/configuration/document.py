"""Reading a YAML file without surprises: no repeated keys, and no content in error messages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lightspeed.errors import ConfigurationError

try:
    from yaml import CSafeLoader as _Loader
except ImportError:
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

_DEEPEST = 100

# What YAML says of a mistake can hold the value itself, so only these beginnings are explained.
_EXPLANATIONS = {
    "mapping values are not allowed": "a `:` is in the wrong place; indent with care, or put the value in quotes",
    "did not find expected key": "the indentation is wrong or a quote is not closed",
    "did not find expected ','": "a `,` or a closing bracket is missing; inside brackets `${env.NAME}` must be in quotes",
    "expected ',' or": "a `,` or a closing bracket is missing; inside brackets `${env.NAME}` must be in quotes",
    "did not find expected '-'": "the indentation of a list is wrong",
    "could not find expected ':'": "a `:` is missing",
    "found undefined alias": "a value that begins with `*` must be in quotes",
    "could not determine a constructor": "a value that begins with `!` must be in quotes",
    "found character": "a value or an indentation begins with a character that YAML keeps for itself",
    "found unexpected end of stream": "a quote is not closed",
    "but found another document": "the file holds more than one document",
}


def read_document(path: Path) -> Any:
    """The content of a YAML file; None if it is empty.

    Raises ConfigurationError; its problems do not name the file, and hold no values.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigurationError("no such file") from None
    except IsADirectoryError:
        raise ConfigurationError("is a directory, not a file") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"byte {error.start + 1}: is not UTF-8 text") from None
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}") from None
    return parse_document(text)


def parse_document(text: str) -> Any:
    """The content of a YAML text; None if it is empty. Raises ConfigurationError as `read_document` does."""
    try:
        _check_depth(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            problems = list(_problems(node, "", []))
            if problems:
                raise ConfigurationError(problems)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise ConfigurationError(_explain(error)) from None
    except yaml.YAMLError:
        raise ConfigurationError("is not valid YAML: it holds a control character") from None
    except RecursionError:
        raise ConfigurationError("is nested too deeply") from None
    except ValueError:
        raise ConfigurationError("is not valid YAML: a date or a number does not exist") from None


def _check_depth(text: str) -> None:
    # The C library composes nested nodes by recursion and would end the process.
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise ConfigurationError("is nested too deeply")


def _explain(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    said = error.problem or ""
    reason = next((text for start, text in _EXPLANATIONS.items() if said.startswith(start)), None)
    return f"{place}is not valid YAML" + (f": {reason}" if reason else "")


def _problems(node: yaml.Node, path: str, above: list[yaml.Node]) -> Iterator[str]:
    if any(node is other for other in above):
        yield f"{path}: refers to itself"
        return
    above = [*above, node]
    if isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield from _problems(value, f"{path}[{position}]", above)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            here = f"{path}.{key.value}" if path else str(key.value)
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield f"{path or 'the file'}: line {line}: a key must be text"
                continue
            first = lines.setdefault((key.tag, key.value), line)
            if first != line:
                yield f"{here}: is given twice, in line {first} and line {line}"
            yield from _problems(value, here, above)
