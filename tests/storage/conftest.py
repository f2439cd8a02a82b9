from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from tests.postgresql import Postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """Where an empty database of either kind is."""
    if request.param == "sqlite":
        return URL.create("sqlite", database=str(tmp_path / "lightspeed.db"))
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.url(server.emptied_database())


@pytest.fixture
def new_database(place: URL) -> Database:
    """A database of either kind that nobody has opened yet."""
    return Database(place)


@pytest.fixture
async def database(new_database: Database) -> AsyncIterator[Database]:
    await new_database.open()
    yield new_database
    await new_database.close()


@pytest.fixture
def conversations(database: Database) -> Conversations:
    return Conversations(database)
