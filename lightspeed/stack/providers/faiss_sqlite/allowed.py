"""Which chunks a filter allows, remembered."""

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightspeed.stack.providers.faiss_sqlite.chunks import Positions
from lightspeed.stack.providers.faiss_sqlite.database import Database
from lightspeed.stack.providers.faiss_sqlite.filters import condition

_REMEMBERED_BYTES = 32_000_000


@dataclass(frozen=True, slots=True)
class _Known:
    resets: int
    until: int
    positions: Positions


class AllowedPositions:
    """Asks the database what a filter allows, each time only for chunks that are new.

    That is enough, because the metadata at a position never change.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def positions(self, filters: Mapping[str, Any], *, live: int, resets: int) -> Positions:
        """Sorted; some may have been deleted since. Raises ValueError.

        `live`: how many chunks there are; `resets`: how often the index had to begin anew.
        """
        wanted = condition(filters)
        key = json.dumps([wanted.sql, wanted.parameters])
        with self._lock:
            known = self._known.get(key)
        with self._database.read() as connection:
            if known is None or known.resets != resets or len(known.positions) > 2 * live:
                known = _Known(resets, 0, np.empty(0, np.int64))
            (last,) = connection.execute("SELECT coalesce(max(position), 0) FROM chunks").fetchone()
            if last > known.until:
                new = np.array(wanted.positions(connection, above=known.until), np.int64)
                known = _Known(resets, last, np.concatenate([known.positions, new]))
        with self._lock:
            self._known[key] = known
            self._known.move_to_end(key)
            while len(self._known) > 1 and self._held_bytes() > _REMEMBERED_BYTES:
                self._known.popitem(last=False)
        return known.positions

    def _held_bytes(self) -> int:
        return sum(known.positions.nbytes + 1024 for known in self._known.values())
