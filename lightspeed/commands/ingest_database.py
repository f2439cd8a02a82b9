"""Taking over a knowledge database of the stack's own provider into a store that can grow."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lightspeed.documents.finding import DocumentError
from lightspeed.errors import StartupError
from lightspeed.stack.passages import EmbeddingModel

if TYPE_CHECKING:
    from lightspeed.stack.providers.faiss_sqlite.stock_store import StockStore
    from lightspeed.stack.stack import Stack

_SHOWN = 10


async def import_database(
    stack: "Stack",
    database: Path,
    stock: "StockStore",
    embedding_model: str | None,
    store: str,
    console: Console,
) -> None:
    """`embedding_model` is the model of run.yaml that made the vectors, where the database does not tell.

    Raises StartupError when it is not clear by which model its questions are embedded.
    """
    model = await _model(stack, stock, database, embedding_model)
    await stack.knowledge.create(store, model)
    with console.status(f"reading {database}"):
        report = await stack.knowledge.import_stock(store, database, stock.id, model.name)
    console.print(
        f"{store}: {report.passages} passages taken over from {stock.id}, {report.skipped} skipped",
        markup=False,
        soft_wrap=True,
    )
    for problem in report.problems[:_SHOWN]:
        console.print(f"  {problem}", markup=False, soft_wrap=True)


def chosen_store(database: Path, wanted: str | None) -> "StockStore":
    """The wanted store of a database, or its only one.

    Raises DocumentError when there is no such file, StorageError when it is no database of stores, StartupError when
    it is not clear what to take over.
    """
    from lightspeed.stack.providers.faiss_sqlite.stock_store import stock_stores

    if not database.is_file():
        raise DocumentError(str(database), "not a file" if database.exists() else "no such file")
    stores = {store.id: store for store in stock_stores(database)}
    there = ", ".join(stores) or "none"
    if wanted is None and len(stores) == 1:
        return next(iter(stores.values()))
    if wanted is None:
        raise StartupError(f"{database} does not hold one store; name one with --from-store. There: {there}")
    if wanted not in stores:
        raise StartupError(f"{database} has no store {wanted}. There: {there}")
    return stores[wanted]


async def _model(stack: "Stack", stock: "StockStore", database: Path, wanted: str | None) -> EmbeddingModel:
    """The model that is wanted, or the one that the database names, or else the default one if the lengths agree.

    Databases often name the folder that their model was in where they were built.
    """
    models = {
        model.identifier: EmbeddingModel(model.identifier, int(model.metadata["embedding_dimension"]))
        for model in await stack.models()
        if model.model_type == "embedding" and model.metadata.get("embedding_dimension")
    }
    there = ", ".join(models) or "none"
    if wanted is not None:
        if wanted not in models:
            raise StartupError(f"--embedding-model: run.yaml has no embedding model {wanted}. There: {there}")
        return models[wanted]
    named = stock.embedding_model
    if named is None:
        default = await stack.default_embedding_model()
        if stock.dimension in (None, default.dimension):
            return default
    elif named in models:
        return models[named]
    else:
        same_name = [model for model in models.values() if _last_part(model.name) == _last_part(named)]
        if len(same_name) == 1 and stock.dimension in (None, same_name[0].dimension):
            return same_name[0]
    raise StartupError(
        f"the passages in {database} were embedded by {named or 'a model that it does not name'}, which run.yaml does"
        f" not have; if it has the same under another name, say so with --embedding-model. There: {there}"
    )


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]
