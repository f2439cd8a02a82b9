"""The vector of a question, made by the model that made the portal's."""

import logging
import math
from collections.abc import Awaitable, Callable, Sequence

import anyio

from lightspeed.errors import LightspeedError, Unavailable
from lightspeed.retrieval.okp.settings import PortalSettings

logger = logging.getLogger(__name__)

type Embed = Callable[[str], Awaitable[Sequence[float]]]


class QuestionVectors:
    """Embeds questions, and checks what comes back."""

    def __init__(self, embed: Embed | None, settings: PortalSettings) -> None:
        self._embed = embed
        self._settings = settings
        self._warned = False

    async def vector_or_none(self, query: str) -> Sequence[float] | None:
        """None where there is no vector; that is logged, and not again until there was one."""
        try:
            vector = await self.vector(query)
        except LightspeedError as error:
            if not self._warned:
                logger.warning("The Offline Knowledge Portal is searched by words only: %s", error)
            self._warned = True
            return None
        self._warned = False
        return vector

    async def vector(self, query: str) -> Sequence[float]:
        """As many finite numbers as the portal's vectors have. Raises Unavailable."""
        model, dimension = self._settings.embedding_model, self._settings.embedding_dimension
        if self._embed is None:
            raise _no_vector(
                f"there is no embedding model; the portal needs {model} with {dimension} numbers"
            )
        try:
            with anyio.fail_after(self._settings.timeout):
                vector = await self._embed(query)
        except LightspeedError:
            raise
        except TimeoutError as error:
            raise _no_vector(
                f"the embedding model {model} did not answer within {self._settings.timeout:g} seconds"
            ) from error
        except Exception as error:
            logger.exception("A question to the Offline Knowledge Portal could not be embedded")
            raise _no_vector(f"the embedding model {model} failed ({type(error).__name__})") from error
        if len(vector) != dimension:
            raise _no_vector(
                f"the question was embedded as {len(vector)} numbers where the portal has {dimension};"
                " set SOLR_EMBEDDING_MODEL and SOLR_EMBEDDING_DIM to the model that made the portal"
            )
        if not all(math.isfinite(value) for value in vector):
            raise _no_vector(f"the embedding model {model} gave numbers that are not finite")
        return vector


def _no_vector(why: str) -> Unavailable:
    return Unavailable(
        f"The question cannot be compared by meaning: {why}.",
        response="Unable to search the Offline Knowledge Portal by meaning",
    )
