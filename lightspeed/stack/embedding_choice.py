"""Which embedding model a new store gets, and the length of its vectors: the same wherever the stack runs."""

from collections.abc import Mapping
from typing import Any

from lightspeed.errors import BadRequest, StartupError
from lightspeed.stack.passages import EmbeddingModel
from lightspeed.stack.stack import Stack


async def default_embedding_model(stack: Stack, *, place: str) -> EmbeddingModel:
    """What new knowledge stores use.

    Raises StartupError, with `place`, when no model makes embeddings, or nothing tells how long they are.
    """
    try:
        model = await stack.knowledge.embedding_model()
        if model is not None:
            return model
        known = {
            model.identifier: model.metadata.get("embedding_dimension")
            for model in await stack.models()
            if model.model_type == "embedding"
        }
        name = first_embedding_model(known)
        if name is None:
            raise StartupError(f"{place} has no embedding model, which knowledge stores need")
        return EmbeddingModel(name, embedding_dimension(name, known[name], None))
    except BadRequest as error:
        raise StartupError(f"{place}: {error.cause}") from error


def first_embedding_model(known: Mapping[str, Any]) -> str | None:
    """The model that is used where nothing names one: the first whose length is known, else the first.

    `known` has the length of the vectors of each model, or null.
    """
    return next((name for name, dimension in known.items() if dimension), next(iter(known), None))


def embedding_dimension(model: str, known: Any, wanted: int | None, default: int | None = None) -> int:
    """The length of a model's vectors: as the stack knows it, else as a client says it, else the default.

    Raises BadRequest when nothing tells, and when the stack knows another length than the client.
    """
    dimension = known or wanted or default
    if not dimension:
        raise BadRequest(
            f"embedding_dimension is required: nothing tells how long the embeddings of {model} are.",
            response="Invalid embedding dimension",
        )
    if wanted and int(dimension) != wanted:
        raise BadRequest(
            f"The embeddings of {model} have {known} dimensions, not {wanted}.",
            response="Invalid embedding dimension",
        )
    return int(dimension)
