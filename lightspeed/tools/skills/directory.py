"""The files of one skill, none of which lies outside its directory."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from lightspeed.errors import LightspeedError

MANIFEST = "SKILL.md"
_DEEPEST = 8
_NO_CONTENT = frozenset({"__pycache__"})


class SkillFileError(LightspeedError):
    """A file of a skill cannot be read. The message tells why, and holds no path of this machine."""


class SkillDirectory:
    """One skill's directory. Links are followed as long as they stay inside. All methods block.

    That is asked again at each read: whoever can change the files while the service runs gains nothing by it.
    """

    def __init__(self, base: Path, name: str = "") -> None:
        """The directory `name` in `base`, or `base` itself. Links may not lead out of `base` either."""
        self._base = base.absolute()
        self._path = self._base / name

    def check(self) -> None:
        """Raises SkillFileError if the directory is a link that leads out of its base."""
        self._root()

    def files(self, most: int) -> list[str]:
        """The paths of all files but SKILL.md, relative and in order. Hidden files are left out.

        Raises SkillFileError for the first file that cannot be offered, and for more than `most` files.
        """
        found: list[str] = []
        for name in self._walk("", [self._root()], most):
            if name == MANIFEST:
                continue
            found.append(name)
            if len(found) > most:
                raise SkillFileError(f"has more than {most} files")
        return sorted(found)

    def read(self, name: str, most: int) -> str:
        """The text of a file of at most `most` bytes, by its relative path. Raises SkillFileError."""
        root = self._root()
        content = self._content(_parts(_real(root / name), root), root, most)
        if len(content) > most:
            raise SkillFileError(f"is larger than the limit of {most} bytes")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise SkillFileError("is a binary file; only text in UTF-8 can be read")
        return text

    def _root(self) -> Path:
        base, root = _real(self._base), _real(self._path)
        _parts(root, base)
        return root

    def _content(self, parts: tuple[str, ...], root: Path, most: int) -> bytes:
        """Up to one byte more than `most`. What has become a link since it was resolved is refused."""
        base = _real(self._base)
        *folders, last = (*_parts(root, base), *parts)
        with ExitStack() as opened:
            try:
                folder = _opened(opened, str(base), os.O_RDONLY | os.O_DIRECTORY)
                for step in folders:
                    folder = _opened(opened, step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, folder)
                # Without waiting: a pipe would never open.
                file = _opened(opened, last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, folder)
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise SkillFileError("is not a file")
                with os.fdopen(file, "rb", closefd=False) as stream:
                    return stream.read(most + 1)
            except OSError as error:
                raise _unreadable(error) from None

    def _walk(self, below: str, above: list[Path], most: int) -> Iterator[str]:
        """`above` holds the real paths of the directories that have led here."""
        if len(above) > _DEEPEST:
            raise SkillFileError(f"{below.rstrip('/')}: lies more than {_DEEPEST} directories deep")
        try:
            names = sorted(os.listdir(above[-1]))  # noqa: PTH208 - only the names are wanted
        except OSError as error:
            raise SkillFileError(f"{below.rstrip('/') or '.'}: {_unreadable(error)}") from None
        if len(names) > 10 * most + 100:
            raise SkillFileError(f"has more than {most} files")
        for entry in names:
            if entry.startswith(".") or entry in _NO_CONTENT:
                continue
            name = below + entry
            if not name.isprintable():
                raise SkillFileError(f"{name!a}: has a name that cannot be shown")
            try:
                real = _real(above[-1] / entry)
                _parts(real, above[0])
            except SkillFileError as error:
                raise SkillFileError(f"{name}: {error}") from None
            if real in above:
                raise SkillFileError(f"{name}: is a link that leads in a circle")
            if real.is_dir():
                yield from self._walk(f"{name}/", [*above, real], most)
            elif real.is_file():
                yield name


def _real(path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise _unreadable(error) from None


def _parts(real: Path, root: Path) -> tuple[str, ...]:
    """The way from a directory to what lies in it. Both are resolved."""
    if not real.is_relative_to(root):
        raise SkillFileError("leads out of the skill's directory")
    return real.relative_to(root).parts


def _opened(opened: ExitStack, name: str, flags: int, folder: int | None = None) -> int:
    descriptor = os.open(name, flags | os.O_CLOEXEC, dir_fd=folder)
    opened.callback(os.close, descriptor)
    return descriptor


def _unreadable(error: Exception) -> SkillFileError:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return SkillFileError("does not exist")
        case PermissionError():
            return SkillFileError("may not be read")
    return SkillFileError("cannot be read")
