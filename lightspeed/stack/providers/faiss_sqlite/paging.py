"""Lists in parts, as clients of the stack page through them."""

# ruff: noqa: S608 (what is put into SQL are constants; values are parameters)

import sqlite3
from dataclasses import dataclass
from typing import Any, Self

_LARGEST = 100
_USUAL = 20


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is wanted: `limit` rows just after, or just before, the row with an id."""

    limit: int = _USUAL
    newest_first: bool = True
    after: str | None = None
    before: str | None = None

    @classmethod
    def checked(cls, limit: int | None, order: str | None, after: str | None, before: str | None) -> Self:
        """Raises ValueError for a limit below 1 or another order. A limit above 100 becomes 100."""
        if limit is not None and limit < 1:
            raise ValueError(f"The limit of a list is at least 1, not {limit}.")
        if order not in (None, "asc", "desc"):
            raise ValueError(f"The order of a list is asc or desc, not {order!r}.")
        return cls(min(limit or _USUAL, _LARGEST), order != "asc", after or None, before or None)


@dataclass(frozen=True, slots=True)
class Listing:
    """A list in the order in which its rows were added.

    `source` is what follows FROM, and its rows have a column `sequence`; `key` is the column of the ids.
    `scope` is an SQL condition with `parameters`: the rows that exist for the reader.
    """

    columns: str
    source: str
    key: str
    scope: str = "1"
    parameters: tuple[Any, ...] = ()

    def rows(
        self, connection: sqlite3.Connection, window: Window, only: str = "1", *values: Any
    ) -> tuple[list[tuple[Any, ...]], bool]:
        """The rows of a window that fulfil the condition `only`, and whether more follow.

        A cursor need not fulfil it. Raises ValueError for a cursor that is not in the list.
        """
        conditions = [self.scope, only]
        parameters = [*self.parameters, *values]
        for cursor, follows in ((window.after, True), (window.before, False)):
            if cursor is not None:
                earlier = follows == window.newest_first
                conditions.append(f"sequence {'<' if earlier else '>'} ?")
                parameters.append(self._sequence(connection, cursor))
        backwards = window.before is not None and window.after is None
        descending = window.newest_first != backwards
        statement = (
            f"SELECT {self.columns} FROM {self.source} WHERE {' AND '.join(conditions)} "
            f"ORDER BY sequence {'DESC' if descending else 'ASC'} LIMIT ?"
        )
        found = connection.execute(statement, (*parameters, window.limit + 1)).fetchall()
        rows = found[: window.limit]
        return rows[::-1] if backwards else rows, len(found) > window.limit

    def _sequence(self, connection: sqlite3.Connection, identifier: str) -> int:
        statement = f"SELECT sequence FROM {self.source} WHERE {self.scope} AND {self.key} = ?"
        row = connection.execute(statement, (*self.parameters, identifier)).fetchone()
        if row is None:
            raise ValueError(f"The list does not hold {identifier!r}, so nothing can be listed from there.")
        return int(row[0])
