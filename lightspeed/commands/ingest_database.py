"""Taking over a knowledge database of the stack's own provider into a store that can grow."""

from dataclasses import replace
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

    Raises StartupError when it is not clear by which model its questions are embedded, or when that one makes vectors
    of another length; then no store is made.
    """
    model = await _model(stack, stock, database, embedding_model, store)
    if stock.dimension not in (None, model.dimension):
        raise StartupError(
            f"the vectors of {stock.id} in {database} have {stock.dimension} dimensions, those of {model.name}"
            f" {model.dimension}: another model has made them; name it with --embedding-model"
        )
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
    """The wanted store of a database, or its only one. Its dimension is that of its vectors.

    Raises DocumentError when there is no such file, StorageError when it is no database of stores or the store cannot
    be read, StartupError when it is not clear what to take over.
    """
    from lightspeed.stack.providers.faiss_sqlite.stock_store import StockStoreReader, stock_stores

    if not database.is_file():
        raise DocumentError(str(database), "not a file" if database.exists() else "no such file")
    stores = {store.id: store for store in stock_stores(database)}
    there = ", ".join(stores) or "none"
    if wanted is None and len(stores) != 1:
        raise StartupError(f"{database} does not hold one store; name one with --from-store. There: {there}")
    if wanted is not None and wanted not in stores:
        raise StartupError(f"{database} has no store {wanted}. There: {there}")
    chosen = next(iter(stores.values())) if wanted is None else stores[wanted]
    # What the record of the store says may be missing or wrong.
    with StockStoreReader(database, chosen.id) as reader:
        return replace(chosen, dimension=reader.dimension)


async def _model(
    stack: "Stack", stock: "StockStore", database: Path, wanted: str | None, store: str
) -> EmbeddingModel:
    """The model that is wanted, or the one that the database names, or else what the store has or would get.

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
        default = await stack.knowledge.model_of(store) or await stack.default_embedding_model()
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
