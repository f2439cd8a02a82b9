"""Taking over a knowledge database of the stack's own provider into a store that can grow."""

from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread
from rich.console import Console

from lightspeed.errors import StartupError
from lightspeed.stack.passages import EmbeddingModel

if TYPE_CHECKING:
    from lightspeed.stack.providers.faiss_sqlite.stock_store import StockStore
    from lightspeed.stack.stack import Stack

_SHOWN = 10


async def import_database(
    stack: "Stack", database: Path, wanted: str | None, store: str, console: Console
) -> None:
    """Raises StartupError when it is not clear what to take over or by which model its questions are embedded."""
    stock = await to_thread.run_sync(_chosen, database, wanted)
    if store not in await stack.knowledge.ids():
        await stack.knowledge.create(store, await _model(stack, stock, database))
    with console.status(f"reading {database}"):
        report = await stack.knowledge.import_stock(store, database, stock.id)
    console.print(
        f"{store}: {report.passages} passages taken over from {stock.id}, {report.skipped} skipped",
        markup=False,
        soft_wrap=True,
    )
    for problem in report.problems[:_SHOWN]:
        console.print(f"  {problem}", markup=False, soft_wrap=True)


def _chosen(database: Path, wanted: str | None) -> "StockStore":
    from lightspeed.stack.providers.faiss_sqlite.stock_store import stock_stores

    if not database.is_file():
        raise StartupError(f"{database} does not exist")
    stores = {store.id: store for store in stock_stores(database)}
    there = ", ".join(stores) or "none"
    if wanted is None and len(stores) == 1:
        return next(iter(stores.values()))
    if wanted is None:
        raise StartupError(f"{database} does not hold one store; name one with --from-store. There: {there}")
    if wanted not in stores:
        raise StartupError(f"{database} has no store {wanted}. There: {there}")
    return stores[wanted]


async def _model(stack: "Stack", stock: "StockStore", database: Path) -> EmbeddingModel:
    """The model that made the vectors, as the database says, or else the default one if the lengths agree."""
    for model in await stack.models():
        dimension = model.metadata.get("embedding_dimension")
        if model.model_type == "embedding" and model.identifier == stock.embedding_model and dimension:
            return EmbeddingModel(model.identifier, int(dimension))
    default = await stack.default_embedding_model()
    if stock.embedding_model is None and stock.dimension in (None, default.dimension):
        return default
    raise StartupError(
        f"the passages in {database} were embedded by {stock.embedding_model}, which run.yaml does not have"
    )
