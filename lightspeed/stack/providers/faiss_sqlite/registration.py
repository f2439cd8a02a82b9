"""Stores become known: from the run configuration at every start, or because a client makes one."""

from lightspeed.errors import StartupError
from lightspeed.stack.providers.faiss_sqlite.opened_stores import OpenedStores
from lightspeed.stack.providers.faiss_sqlite.store_records import (
    NewStore,
    StoreChanges,
    StoreRecord,
    StoreRecords,
)


class UnusableStore(StartupError, ValueError):
    """The store is there, but not as it is registered."""


def register(new: NewStore, records: StoreRecords, opened: OpenedStores, *, read_only: bool) -> StoreRecord:
    """The record of the store, made unless it is there. Blocks.

    Raises UnusableStore if it was made with other vectors, UnusableSource if it is to be taken over from a database
    that does not hold it so, StorageError.
    """
    opened.complete_deletion(new.id)
    known = records.get(new.id)
    _check_source(new, known, opened, read_only=read_only)
    if known is None:
        return records.add(new)
    if read_only and opened.source is not None:
        return _as_registered(new, known, records)
    if known.dimension != new.dimension:
        raise UnusableStore(
            f"Vector store {new.id} holds vectors of {known.dimension} dimensions, not {new.dimension}"
        )
    if known.embedding_model == new.embedding_model:
        return known
    if opened.open(new.id).count():
        raise UnusableStore(
            f"Vector store {new.id} was filled with the embedding model {known.embedding_model}, "
            f"so {new.embedding_model} cannot search it"
        )
    return records.change(new.id, StoreChanges(embedding_model=new.embedding_model)) or known


def _check_source(new: NewStore, known: StoreRecord | None, opened: OpenedStores, *, read_only: bool) -> None:
    source = opened.source
    if source is None:
        return
    if read_only:
        # Reading what is in a large database takes seconds.
        if known is None or known.dimension != new.dimension or known.fingerprint != source.fingerprint():
            source.check(new.id, new.dimension)
    elif known is None and source.holds(new.id):
        source.check(new.id, new.dimension)


def _as_registered(new: NewStore, known: StoreRecord, records: StoreRecords) -> StoreRecord:
    """What is converted follows the run configuration: it can be converted again."""
    columns: dict[str, object] = {}
    if known.dimension != new.dimension:
        columns = {"dimension": new.dimension, "fingerprint": None}
    model = new.embedding_model if known.embedding_model != new.embedding_model else None
    if not columns and model is None:
        return known
    return records.change(new.id, StoreChanges(embedding_model=model, columns=columns)) or known
