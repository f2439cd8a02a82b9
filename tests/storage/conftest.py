from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.at(tmp_path / "lightspeed.db")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def conversations(database: Database) -> Conversations:
    return Conversations(database)
