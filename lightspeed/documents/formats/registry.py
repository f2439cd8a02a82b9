"""Which format reads which file. A new format is a new module in this package and nothing else."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from lightspeed.documents import formats
from lightspeed.documents.formats.format import Format


@cache
def known_formats() -> tuple[Format, ...]:
    """Every `FORMAT` in the modules of this package."""
    modules = (import_module(f"{formats.__name__}.{found.name}") for found in iter_modules(formats.__path__))
    return tuple(module.FORMAT for module in modules if hasattr(module, "FORMAT"))


def format_of(name: str) -> Format | None:
    """The format that claims a file name (the last part of a path), or None."""
    lowered = name.lower()
    stem, dot, suffix = lowered.rpartition(".")
    for candidate in known_formats():
        if (stem and dot + suffix in candidate.suffixes) or lowered in candidate.stems:
            return candidate
    return None
