"""Finding the files to read, below folders and by patterns."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightspeed.errors import LightspeedError

_JUNK = frozenset({"node_modules", "__pycache__", "Thumbs.db", "desktop.ini"})
# Sphinx puts the source of each page, as text with markup, beside the pages that it has made of them.
_OF_SPHINX, _SOURCES = "objects.inv", "_sources"
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAGIC = re.compile(r"[*?\[]")


class DocumentError(LightspeedError):
    """A file cannot be found or read; `path` and `cause` make one line."""

    def __init__(self, path: str, cause: str) -> None:
        # Shown on terminals: a file name may hold line ends and escape sequences.
        self.path = _UNSEEN.sub("\ufffd", path.encode(errors="replace").decode())
        self.cause = cause
        super().__init__(f"{self.path}: {cause}")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read.

    `name` is its path relative to the folder that was given, with `/`. `root` is the id of what was given:
    the same for all files of one folder, and for a file that is given by itself the one of its folder.
    """

    path: Path
    name: str
    root: str = ""


@dataclass(frozen=True, slots=True)
class _Root:
    folder: Path
    start: Path
    pattern: re.Pattern[str] | None = None
    written: str = ""  # the pattern as it was given

    @property
    def id(self) -> str:
        """32 hex digits that tell nothing about this machine."""
        place = f"{os.path.realpath(self.folder)}\0{self.written}"
        return hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:32]


def find_files(
    paths: Sequence[Path | str], *, on_error: Callable[[DocumentError], None] | None = None
) -> Iterator[SourceFile]:
    """The files that the paths name: files, folders (all below them, sorted), or patterns.

    A path is a pattern (`*`, `?`, `[...]`, `**` for any folders) when nothing has it as its literal name.
    Hidden files and junk are skipped below a folder; links are followed after everything else, and a file
    is given once. Names are unique: the second README.md takes the name of the folder above with it.
    Raises DocumentError at once for a path that does not exist. A folder that cannot be listed goes to
    `on_error`, or is raised without it.
    """
    return _unique([_root(path) for path in paths], on_error)


def searched_roots(paths: Sequence[Path | str]) -> dict[str, str]:
    """The ids of the folders and patterns among the paths, with the first path of each.

    What has been read from one of these before and is not found now is gone; a single file tells nothing
    about others. Raises DocumentError for a path that does not exist.
    """
    found: dict[str, str] = {}
    for path in paths:
        root = _root(path)
        if root.start.is_dir():
            found.setdefault(root.id, str(path))
    return found


def _root(given: Path | str) -> _Root:
    path = Path(given)
    if path.is_dir():
        return _Root(path, path)
    if path.exists():
        return _Root(path.parent, path)
    literal = 0
    while literal < len(path.parts) and not _MAGIC.search(path.parts[literal]):
        literal += 1
    folder = Path(*path.parts[:literal])
    if literal == len(path.parts) or not folder.is_dir():
        raise DocumentError(str(given), "no such file or folder")
    parts = path.parts[literal:]
    root = _Root(folder, folder, _matcher(parts), "/".join(parts))
    if next(_files(root, lambda error: None), None) is None:
        raise DocumentError(str(given), "no file matches")
    return root


def _matcher(parts: Sequence[str]) -> re.Pattern[str]:
    """A pattern for relative paths; what matches a folder matches everything below it."""
    expression = "".join("(?:[^/]+/)*" if part == "**" else _part(part) + "/" for part in parts)
    return re.compile(expression + "(?:[^/]+/)*")


def _part(part: str) -> str:
    signs = re.findall(r"\*+|\?|\[!?\]?[^\]]*\]|.", part, re.DOTALL)
    return "".join(_token(sign) for sign in signs)


def _token(sign: str) -> str:
    if sign.startswith("*"):
        return "[^/]*"
    if sign == "?":
        return "[^/]"
    if len(sign) > 1:
        negated = sign[1] == "!"
        inside = sign[2 if negated else 1 : -1].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]")
        return f"[{'^/' if negated else ''}{inside.replace('^', r'\^')}]"
    return re.escape(sign)


def _unique(roots: Sequence[_Root], on_error: Callable[[DocumentError], None] | None) -> Iterator[SourceFile]:
    seen: set[str] = set()
    names: set[str] = set()
    for root in roots:
        root_id = root.id
        for path in _files(root, on_error):
            real = os.path.realpath(path)
            if real in seen:
                continue
            seen.add(real)
            name = _name(path, root.folder, names)
            names.add(name)
            yield SourceFile(path, name, root_id)


def _name(path: Path, folder: Path, taken: set[str]) -> str:
    name = path.relative_to(folder).as_posix().encode(errors="replace").decode()
    for parent in reversed(folder.absolute().parts[1:]):
        if name not in taken:
            break
        name = f"{parent}/{name}"
    return name


def _files(root: _Root, on_error: Callable[[DocumentError], None] | None) -> Iterator[Path]:
    visited: set[str] = set()
    stack = [root.start]
    links: list[Path] = []
    while stack or links:
        path = stack.pop() if stack else links.pop(0)
        if path.is_dir():
            real = os.path.realpath(path)
            if real not in visited:
                visited.add(real)
                entries = _entries(path, on_error)
                links += [entry for entry, is_link in entries if is_link]
                stack += [entry for entry, is_link in reversed(entries) if not is_link]
        elif path.is_file() and (
            root.pattern is None or root.pattern.fullmatch(path.relative_to(root.folder).as_posix() + "/")
        ):
            yield path


def _entries(folder: Path, on_error: Callable[[DocumentError], None] | None) -> list[tuple[Path, bool]]:
    """What is in a folder, sorted, and whether each is a link."""
    try:
        entries = [entry for entry in sorted(folder.iterdir()) if not _is_junk(entry.name)]
        if any(entry.name == _OF_SPHINX for entry in entries):
            entries = [entry for entry in entries if entry.name != _SOURCES]
        return [(entry, entry.is_symlink()) for entry in entries]
    except OSError as error:
        problem = DocumentError(str(folder), (error.strerror or type(error).__name__).lower())
        if on_error is None:
            raise problem from error
        on_error(problem)
        return []


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.endswith("~") or name in _JUNK
