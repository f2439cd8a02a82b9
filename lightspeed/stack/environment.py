"""Settings of the process environment that must stand before the stack is imported."""

import os
from collections.abc import MutableMapping
from importlib.util import find_spec
from pathlib import Path


def prepare_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Keep the stack and its libraries off the network, unless the user has decided otherwise.

    tiktoken takes its tables from the litellm package, which carries them, instead of from the network.
    """
    environment.setdefault("HF_HUB_OFFLINE", "1")
    environment.setdefault("TRANSFORMERS_OFFLINE", "1")
    environment.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    environment.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    tables = _tiktoken_tables()
    if tables is not None:
        environment.setdefault("TIKTOKEN_CACHE_DIR", str(tables))


def _tiktoken_tables() -> Path | None:
    spec = find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        return None
    tables = Path(spec.submodule_search_locations[0]) / "litellm_core_utils" / "tokenizers"
    return tables if tables.is_dir() else None
