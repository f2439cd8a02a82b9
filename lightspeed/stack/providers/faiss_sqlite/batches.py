"""Files that were attached together."""

import time
from collections import Counter
from dataclasses import dataclass

from lightspeed.stack.providers.faiss_sqlite.attachments import CANCELLED, COMPLETED, FAILED, IN_PROGRESS
from lightspeed.stack.providers.faiss_sqlite.catalog import Catalog

_KEPT = 7 * 86_400  # seconds, as the stack keeps them


@dataclass(frozen=True, slots=True)
class Batch:
    """`counts` has the number of files by status; a file that is in the store no more counts as cancelled."""

    id: str
    store_id: str
    created_at: int
    cancelled: bool
    counts: dict[str, int]

    @property
    def status(self) -> str:
        """The status of the whole; `failed` only if every file has failed."""
        if self.cancelled:
            return CANCELLED
        if self.counts.get(IN_PROGRESS):
            return IN_PROGRESS
        return FAILED if self.counts.get(FAILED) == sum(self.counts.values()) else COMPLETED


class Batches:
    """Reads batches of the catalog. They are forgotten after 7 days; their files stay."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def get(self, store_id: str, batch_id: str) -> Batch:
        """Raises ValueError if the store has no such batch."""
        with self._catalog.read() as connection:
            row = connection.execute(
                "SELECT created_at, cancelled FROM batches WHERE id = ? AND store_id = ?",
                (batch_id, store_id),
            ).fetchone()
            found = connection.execute(
                "SELECT coalesce(status, 'cancelled') FROM batch_files LEFT JOIN attachments ON "
                "attachments.file_id = batch_files.file_id AND store_id = ? WHERE batch_id = ?",
                (store_id, batch_id),
            ).fetchall()
        if row is None:
            raise ValueError(f"Vector store {store_id} has no file batch {batch_id}.")
        return Batch(batch_id, store_id, row[0], bool(row[1]), Counter(status for (status,) in found))

    def cancel(self, batch_id: str) -> list[str]:
        """Files of the batch that are still in progress are cancelled, which their jobs notice. Returns those files."""
        with self._catalog.write() as connection:
            connection.execute("UPDATE batches SET cancelled = 1 WHERE id = ?", (batch_id,))
            found = connection.execute(
                "UPDATE attachments SET status = 'cancelled', owner = NULL, lease_until = NULL "
                "WHERE status = 'in_progress' AND store_id = (SELECT store_id FROM batches WHERE id = :id) "
                "AND file_id IN (SELECT file_id FROM batch_files WHERE batch_id = :id) RETURNING file_id",
                {"id": batch_id},
            ).fetchall()
        return [file_id for (file_id,) in found]

    def forget_old(self) -> None:
        with self._catalog.write() as connection:
            connection.execute(
                "DELETE FROM batches WHERE created_at < ?",
                (int(time.time()) - _KEPT,),
            )
            connection.execute("DELETE FROM batch_files WHERE batch_id NOT IN (SELECT id FROM batches)")
