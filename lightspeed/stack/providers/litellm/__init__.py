"""Any model that the Python package litellm reaches, offered to the embedded Llama Stack.

The stack's run configuration names it so:

    providers:
      inference:
      - provider_id: litellm
        provider_type: inline::litellm
        module: lightspeed.stack.providers.litellm
        config:
          models:
            claude:
              model: anthropic/claude-sonnet-4-5
              api_key: ${env.ANTHROPIC_API_KEY}

A request then names the model `litellm/claude`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from anyio import to_thread

if TYPE_CHECKING:
    from lightspeed.stack.providers.litellm.adapter import LitellmInference
    from lightspeed.stack.providers.litellm.config import LitellmConfig

__all__ = ["get_provider_impl"]


async def get_provider_impl(config: "LitellmConfig", deps: dict[Any, Any]) -> "LitellmInference":
    """The provider, ready to be asked; the stack calls this once. Raises StartupError for a model that cannot be."""
    module = await to_thread.run_sync(importlib.import_module, f"{__name__}.adapter")
    provider: LitellmInference = module.LitellmInference(config)
    await provider.initialize()
    return provider
