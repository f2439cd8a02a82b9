"""Which provider keeps a new vector store, and which model makes its embeddings."""

from typing import Any

from lightspeed.errors import BadRequest, Unavailable
from lightspeed.stack.embedding_choice import embedding_dimension
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
        name = wanted.embedding_model
        if name is None:
            usual = await self.usual_embedding()
            name = usual.name if usual is not None else await self._first_embedding_model()
        return await self._checked(name, wanted.embedding_dimension)

    async def usual_embedding(self) -> EmbeddingModel | None:
        """The default of run.yaml, else what the first store uses that no user has made. Raises BadRequest."""
        default = getattr(self._settings, "default_embedding_model", None)
        if default is not None:
            return EmbeddingModel(*await self._checked(f"{default.provider_id}/{default.model_id}", None))
        for store in await self._table.registered():
            if not store.identifier.startswith("vs_"):
                return EmbeddingModel(store.embedding_model, store.embedding_dimension)
        return None

    async def _checked(self, name: str, dimension: int | None) -> tuple[str, int]:
        model = await self._table.impl.get_object_by_identifier("model", name)
        if model is None or not _makes_embeddings(model):
            raise BadRequest(f"{name} is not an embedding model.", response="Invalid embedding model")
        known = (model.metadata or {}).get("embedding_dimension")
        return name, embedding_dimension(name, known, dimension)

    async def _first_embedding_model(self) -> str:
        for model in await self._table.impl.get_all_with_type("model"):
            if _makes_embeddings(model):
                return str(model.identifier)
        raise Unavailable(
            "The stack has no embedding model: run.yaml needs one in `registered_resources.models`.",
            response=_UNAVAILABLE,
        )


def _makes_embeddings(model: Any) -> bool:
    return str(getattr(model.model_type, "value", model.model_type)) == "embedding"


def _is_read_only(name: str, provider: Any) -> bool:
    marked = getattr(provider, "is_read_only", False)
    return name.startswith("byok_") or bool(marked() if callable(marked) else marked)
