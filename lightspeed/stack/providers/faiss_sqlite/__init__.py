"""Knowledge stores in folders of this machine, offered to the embedded Llama Stack.

The stack's run configuration names the provider so:

    providers:
      vector_io:
      - provider_id: faiss
        provider_type: inline::faiss-sqlite
        module: lightspeed.stack.providers.faiss_sqlite
        config:
          path: /var/lib/lightspeed/knowledge

`store.ChunkStore` is the engine of one store; `adapter.FaissSqliteVectorIO` is what the stack calls.
"""

import importlib
from typing import TYPE_CHECKING, Any

from anyio import to_thread

if TYPE_CHECKING:
    from lightspeed.stack.providers.faiss_sqlite.adapter import FaissSqliteVectorIO
    from lightspeed.stack.providers.faiss_sqlite.config import FaissSqliteConfig

__all__ = ["get_provider_impl"]


async def get_provider_impl(config: "FaissSqliteConfig", deps: dict[Any, Any]) -> "FaissSqliteVectorIO":
    """The provider, ready; the stack calls this once. Raises StartupError when its folder cannot be used."""
    # faiss is large: it is imported where it cannot hold up the event loop.
    module = await to_thread.run_sync(importlib.import_module, f"{__name__}.adapter")
    provider: FaissSqliteVectorIO = module.FaissSqliteVectorIO(config, deps)
    await provider.initialize()
    return provider
