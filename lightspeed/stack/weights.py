"""Where model weights are: a path, or a file inside an installed package."""

import importlib.util
from pathlib import Path

from lightspeed.errors import StartupError

PACKAGE_PREFIX = "package:"


def weights_path(reference: str) -> Path:
    """The existing file or folder that `reference` names, as an absolute path.

    `reference` is a path (`~` expands) or `package:<import name>[/<file or folder inside>]`.
    The package is found without importing it. Raises StartupError when nothing is there.
    """
    if reference.startswith(PACKAGE_PREFIX):
        return _inside_package(reference)
    if not reference:
        raise StartupError("Model weights '' were not found: set a path or 'package:<name>/<file>'")
    try:
        path = Path(reference).expanduser().absolute()
    except RuntimeError as error:
        raise StartupError(f"Model weights '{reference}' were not found: {error}") from error
    if not path.exists():
        raise StartupError(
            f"Model weights '{reference}' were not found: there is no such file or folder, correct the path"
        )
    return path


def _inside_package(reference: str) -> Path:
    package, _, inside = reference.removeprefix(PACKAGE_PREFIX).partition("/")
    if not package.isidentifier():
        raise StartupError(
            f"Model weights '{reference}' were not found: write 'package:<import name>/<file>', with a top-level import name"
        )
    folders = _package_folders(package)
    if not folders:
        raise StartupError(
            f"Model weights '{reference}' were not found: the package '{package}' is not installed,"
            " install it or set a path to other weights"
        )
    for folder in folders:
        path = folder / inside
        if path.exists():
            return path.absolute()
    raise StartupError(
        f"Model weights '{reference}' were not found: the package '{package}' holds no '{inside}', correct the name"
    )


def _package_folders(package: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:
        return []
    if spec is None or spec.submodule_search_locations is None:
        return []
    return [Path(location) for location in spec.submodule_search_locations]
