"""What a service has kept, read behind its back."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.postgresql import Postgresql


@dataclass(frozen=True)
class Kept:
    """`place` is the block of the configuration file, `rows` runs a query in the database."""

    place: dict[str, Any]
    rows: Callable[[str], list[list[str]]]

    def numbers(self) -> dict[str, list[int]]:
        """The numbers of the turns of each conversation."""
        found: dict[str, list[int]] = {}
        for conversation_id, number in self.rows(
            "SELECT conversation_id, number FROM lightspeed_turns ORDER BY conversation_id, number"
        ):
            found.setdefault(conversation_id, []).append(int(number))
        return found

    def queries(self) -> list[str]:
        """The questions of all turns, in the order of their ends."""
        return [query for (query,) in self.rows("SELECT query FROM lightspeed_turns ORDER BY completed_at")]


def in_sqlite(state: Path) -> Kept:
    path = state / "lightspeed.db"

    def rows(query: str) -> list[list[str]]:
        with closing(sqlite3.connect(path)) as connection:
            return [[str(value) for value in row] for row in connection.execute(query)]

    return Kept({"sqlite": {"db_path": str(path)}}, rows)


def in_postgresql(server: Postgresql) -> Kept:
    name = server.new_database()
    return Kept({"postgres": server.configuration(name)}, lambda query: server.sql(name, query))
