"""Which provider keeps a new vector store, and which model makes its embeddings."""

from typing import Any

from lightspeed.errors import BadRequest, Unavailable
from lightspeed.stack.embedding_choice import embedding_dimension, first_embedding_model
from lightspeed.stack.passages import EmbeddingModel
from lightspeed.stack.store_table import StoreTable
from lightspeed.stack.stored_objects import NewVectorStore

_UNAVAILABLE = "Vector stores are not available"


class StoreChoices:
    """`settings` is the section `vector_stores` of run.yaml, if it has one."""

    def __init__(self, table: StoreTable, settings: Any) -> None:
        self._table = table
        self._settings = settings

    def provider(self, wanted: str | None) -> str:
        """Who keeps a new store: the one that is asked for, the default one, or the first that can be written to.

        Raises BadRequest and Unavailable.
        """
        providers = self._table.impl.impls_by_provider_id
        writable: list[str] = [name for name, impl in providers.items() if not _is_read_only(name, impl)]
        if wanted is not None:
            if wanted not in writable:
                there = ", ".join(writable) or "none"
                raise BadRequest(
                    f"{wanted} is no provider for new vector stores; there are: {there}",
                    response="Invalid vector store provider",
                )
            return wanted
        default = getattr(self._settings, "default_provider_id", None)
        if default in writable:
            return str(default)
        if not writable:
            raise Unavailable(
                "All providers in `providers.vector_io` of run.yaml are read-only.",
                response=_UNAVAILABLE,
            )
        return writable[0]

    async def embedding(self, wanted: NewVectorStore) -> tuple[str, int]:
        """The model of a new store and the length of its embeddings. Raises BadRequest and Unavailable."""
        usual = self._configured() or await self._of_first_store()
        name = wanted.embedding_model
        if name is None:
            name = usual[0] if usual is not None else await self._first_embedding_model()
        default = usual[1] if usual is not None and usual[0] == name else None
        return await self._checked(name, wanted.embedding_dimension, default)

    async def usual_embedding(self) -> EmbeddingModel | None:
        """The default of run.yaml, else what the first store uses that no user has made. Raises BadRequest."""
        configured = self._configured()
        if configured is not None:
            name, dimension = configured
            return EmbeddingModel(*await self._checked(name, None, dimension))
        used = await self._of_first_store()
        return None if used is None else EmbeddingModel(*used)

    def _configured(self) -> tuple[str, int | None] | None:
        """The default of run.yaml, and the length that stands beside it."""
        default = getattr(self._settings, "default_embedding_model", None)
        if default is None:
            return None
        return f"{default.provider_id}/{default.model_id}", default.embedding_dimensions

    async def _of_first_store(self) -> tuple[str, int] | None:
        for store in await self._table.registered():
            if not store.identifier.startswith("vs_"):
                return store.embedding_model, store.embedding_dimension
        return None

    async def _checked(self, name: str, wanted: int | None, default: int | None) -> tuple[str, int]:
        """The name of a model, and its length with `wanted` by the client and the `default` beside the name."""
        model = await self._table.impl.get_object_by_identifier("model", name)
        if model is None or not _makes_embeddings(model):
            raise BadRequest(f"{name} is not an embedding model.", response="Invalid embedding model")
        known = (model.metadata or {}).get("embedding_dimension")
        return name, embedding_dimension(name, known, wanted, default)

    async def _first_embedding_model(self) -> str:
        models = [m for m in await self._table.impl.get_all_with_type("model") if _makes_embeddings(m)]
        name = first_embedding_model(
            {str(model.identifier): (model.metadata or {}).get("embedding_dimension") for model in models}
        )
        if name is None:
            raise Unavailable(
                "The stack has no embedding model: run.yaml needs one in `registered_resources.models`.",
                response=_UNAVAILABLE,
            )
        return name


def _makes_embeddings(model: Any) -> bool:
    return str(getattr(model.model_type, "value", model.model_type)) == "embedding"


def _is_read_only(name: str, provider: Any) -> bool:
    marked = getattr(provider, "is_read_only", False)
    return name.startswith("byok_") or bool(marked() if callable(marked) else marked)
