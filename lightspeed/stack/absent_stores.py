"""Vector stores that are not there only because their provider does not run, or not yet."""

from collections.abc import Callable, Sequence

from llama_stack_api import Api

from lightspeed.errors import ProviderUnavailable
from lightspeed.stack.absent import MissingProvider, WaitingResource


class AbsentStores:
    """Tells a store that will be back from one that nobody has."""

    def __init__(
        self,
        missing: Callable[[], Sequence[MissingProvider]] = tuple,
        waiting: Callable[[], Sequence[WaitingResource]] = tuple,
    ) -> None:
        """`missing` and `waiting` are what the stack lacks at the moment of the call."""
        self._missing = missing
        self._waiting = waiting

    def check_providers(self) -> None:
        """To be asked when no provider of stores runs. Raises ProviderUnavailable if there are some."""
        if away := self._away():
            raise ProviderUnavailable(f"No provider of vector stores is running: {', '.join(sorted(away))}.")

    def check(self, store_id: str, provider_id: str | None) -> None:
        """To be asked about a store that was not found; `provider_id` is who is known to keep it.

        Raises ProviderUnavailable if it is not there only at the moment.
        """
        waiting = next((one.resource for one in self._waiting() if _is_store(one, store_id)), None)
        keeper = provider_id or getattr(waiting, "provider_id", None)
        if keeper in self._away():
            raise ProviderUnavailable(f"Provider {keeper} of vector store {store_id} is not running.")
        if waiting is not None:
            raise ProviderUnavailable(f"Vector store {store_id} could not be registered yet.")

    def _away(self) -> set[str]:
        return {one.id for one in self._missing() if one.api is Api.vector_io}


def _is_store(waiting: WaitingResource, store_id: str) -> bool:
    return waiting.table is Api.vector_stores and waiting.resource.vector_store_id == store_id
