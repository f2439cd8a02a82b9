"""Questions to the models behind the server."""

import logging
from collections.abc import AsyncGenerator
from typing import Any

import openai

from lightspeed.errors import ModelQuotaExceeded, ModelRefused, NotFound, RequestError
from lightspeed.stack.chat import ChatPiece, ChatRequest
from lightspeed.stack.openai_calls import create_completion
from lightspeed.stack.openai_errors import openai_error
from lightspeed.stack.pieces import chunk_piece, whole_answer
from lightspeed.stack.remote.server import StackServer

logger = logging.getLogger(__name__)


class RemoteChat:
    """Speaks the chat completions of the server."""

    def __init__(self, server: StackServer) -> None:
        self._server = server

    async def ask(self, request: ChatRequest) -> AsyncGenerator[ChatPiece]:
        """Ask a model. Returns when the server has accepted the request; the pieces follow.

        Raises a RequestError, here or while the pieces are read. Closing the iterator stops the generation.
        """
        await self._server.presence.require()
        try:
            credentials = await self._server.credentials(request.model)
            answer = await create_completion(
                self._server.openai, extra_headers=credentials, **request.arguments()
            )
        except Exception as error:
            raise _mapped(error, request.model) from error
        return self._streamed(answer, request.model) if request.stream else whole_answer(answer)

    async def _streamed(self, chunks: openai.AsyncStream[Any], model: str) -> AsyncGenerator[ChatPiece]:
        finished = False
        try:
            async for chunk in chunks:
                piece = chunk_piece(chunk)
                finished = finished or piece.finish_reason is not None
                yield piece
        except Exception as error:
            # The server may have ended: whoever asks next, and /readiness, should not wait for the watch.
            self._server.presence.doubt()
            raise _mapped(error, model) from error
        finally:
            await chunks.close()
        if not finished:
            raise ModelRefused("The Llama Stack server ended its stream before the answer was complete.")


def _mapped(error: Exception, model: str) -> RequestError:
    match error:
        case openai.NotFoundError():
            mapped: RequestError = NotFound("Model", model.rpartition("/")[2])
        case openai.APIError(code="429"):
            mapped = ModelQuotaExceeded(model)
        case _:
            mapped = openai_error(error, model)
    logger.warning("A call of %s failed: %s: %s", model, type(error).__name__, mapped.cause)
    logger.debug("The server's error", exc_info=error)
    return mapped
