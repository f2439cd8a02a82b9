"""Fixtures for tests of providers."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for the name of a Unix socket."""
    with TemporaryDirectory(prefix="ls-") as folder:
        yield Path(folder)
