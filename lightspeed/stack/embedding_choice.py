"""Which embedding model a new store gets, and the length of its vectors: the same wherever the stack runs."""

from typing import Any

from lightspeed.errors import BadRequest, StartupError
from lightspeed.stack.passages import EmbeddingModel
from lightspeed.stack.stack import Stack


async def default_embedding_model(stack: Stack, *, place: str) -> EmbeddingModel:
    """What new knowledge stores use. Raises StartupError, with `place`, when no model makes embeddings."""
    model = await stack.knowledge.embedding_model()
    if model is not None:
        return model
    for candidate in await stack.models():
        dimension = candidate.metadata.get("embedding_dimension")
        if candidate.model_type == "embedding" and dimension:
            return EmbeddingModel(candidate.identifier, int(dimension))
    raise StartupError(f"{place} has no embedding model, which knowledge stores need")


def embedding_dimension(model: str, known: Any, wanted: int | None) -> int:
    """The length of a model's vectors, as the stack knows it or a client says it. Raises BadRequest."""
    dimension = wanted or known
    if dimension is None:
        raise BadRequest(
            f"embedding_dimension is required: nothing tells how long the embeddings of {model} are.",
            response="Invalid embedding dimension",
        )
    if known is not None and int(known) != int(dimension):
        raise BadRequest(
            f"The embeddings of {model} have {known} dimensions, not {dimension}.",
            response="Invalid embedding dimension",
        )
    return int(dimension)
