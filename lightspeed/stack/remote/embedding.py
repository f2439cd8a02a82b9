"""Texts to vectors, by the embedding models behind the server."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from anyio import to_thread

from lightspeed.stack.question import TextEmbedder, Vectors
from lightspeed.stack.remote.server import StackServer


class RemoteEmbeddings(TextEmbedder):
    """Asks the server for vectors."""

    def __init__(self, server: StackServer) -> None:
        self._server = server

    async def _embed(self, model: str, texts: Sequence[str]) -> Vectors:
        body = await self._server.post(
            "/embeddings",
            {"model": model, "input": list(texts), "encoding_format": "float"},
            resource="Model",
            identifier=model,
            credentials=await self._server.credentials(model),
        )
        return await to_thread.run_sync(_vectors, body["data"])


def _vectors(data: Sequence[Any]) -> Vectors:
    ordered = sorted(data, key=lambda item: int(item["index"]))
    return np.array([item["embedding"] for item in ordered], np.float32)
