"""What of the run configuration is not there, or not yet."""

import time
from dataclasses import dataclass, field
from typing import Any

from llama_stack.core.resolver import ProviderWithSpec
from llama_stack_api import Api

from lightspeed.errors import ProviderUnavailable

# Where a provider keeps the routing table that it belongs to.
STORE_NAMES = {
    Api.inference: "model_store",
    Api.safety: "shield_store",
    Api.vector_io: "vector_store_store",
    Api.tool_runtime: "tool_store",
}
_IDENTIFIERS = ("model_id", "shield_id", "vector_store_id", "dataset_id", "scoring_fn_id", "benchmark_id")


class RunningProviders(dict[str, Any]):
    """The providers of one API by id. Raises ProviderUnavailable for one that does not run."""

    def __missing__(self, provider_id: str) -> Any:
        raise ProviderUnavailable(f"Provider {provider_id} is not running.")


@dataclass(eq=False, slots=True)
class MissingProvider:
    """A configured provider that could not be started, and why; `tried_at` in seconds of the monotonic clock."""

    provider: ProviderWithSpec
    error: Exception
    tried_at: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return str(self.provider.provider_id)

    @property
    def api(self) -> Api:
        return Api(self.provider.spec.api)

    @property
    def can_join(self) -> bool:
        """Whether it can be taken in while the stack runs; what others were built upon cannot."""
        return self.api in STORE_NAMES

    @property
    def is_remote(self) -> bool:
        return str(self.provider.provider_type).startswith("remote::")


@dataclass(frozen=True, slots=True)
class WaitingResource:
    """A model, shield or store of the run configuration that could not be registered yet, and why."""

    kind: str
    table: Api
    resource: Any
    error: Exception

    @property
    def name(self) -> str:
        identifier = next(
            getattr(self.resource, name) for name in _IDENTIFIERS if hasattr(self.resource, name)
        )
        return f"{self.kind.replace('_', ' ').removesuffix('s')} {identifier}"
