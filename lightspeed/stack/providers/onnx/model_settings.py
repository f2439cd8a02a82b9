"""How a model wants to be used, read from the files beside it as sentence-transformers reads them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightspeed.errors import StartupError
from lightspeed.stack.providers.onnx.config import OnnxModel

_DEFAULT_MAX_LENGTH = 512
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_TRANSFORMER_FILES = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """`max_length` counts tokens, special tokens included.

    `pooling` may name a mode that this provider does not know, and `unsupported_modules` lists what the model
    does to a pooled vector and we do not: both matter only when the ONNX graph does not pool by itself.
    """

    pooling: str
    normalize: bool
    max_length: int
    lower_case: bool
    unsupported_modules: tuple[str, ...]


def read_model_settings(directory: Path, configured: OnnxModel) -> ModelSettings:
    """The settings of the model in `directory`; what `configured` says wins. Raises StartupError."""
    modules = _modules(directory)
    transformer: dict[str, Any] = next(
        filter(None, (_json(directory / name) for name in _TRANSFORMER_FILES)), {}
    )
    supported = {"Transformer", "Pooling", "Normalize"}
    return ModelSettings(
        pooling=configured.pooling
        or _pooling(directory / modules.get("Pooling", "1_Pooling") / "config.json"),
        normalize="Normalize" in modules if configured.normalize is None else configured.normalize,
        max_length=_max_length(directory, transformer, configured.max_length),
        lower_case=bool(transformer.get("do_lower_case"))
        if configured.lower_case is None
        else configured.lower_case,
        unsupported_modules=tuple(name for name in modules if name not in supported),
    )


def _modules(directory: Path) -> dict[str, str]:
    """Class name -> path, in order."""
    path = directory / "modules.json"
    modules = _json(path, kind=list)
    try:
        return {str(module["type"]).rpartition(".")[2]: str(module["path"]) for module in modules}
    except (KeyError, TypeError) as error:
        raise StartupError(f"{path} is broken: every module needs 'type' and 'path'") from error


def _pooling(path: Path) -> str:
    config = _json(path)
    modes = config.get("pooling_mode") or [mode for flag, mode in _POOLING_FLAGS.items() if config.get(flag)]
    if isinstance(modes, str):
        return modes
    return "+".join(map(str, modes)) or "mean"


def _max_length(directory: Path, transformer: dict[str, Any], configured: int | None) -> int:
    positions = _limit(_json(directory / "config.json").get("max_position_embeddings"))
    if configured is not None:
        if positions is not None and configured > positions:
            raise StartupError(
                f"max_length {configured} is more than the {positions} positions of the model in {directory}"
            )
        return configured
    own = _limit(transformer.get("max_seq_length"))
    if own is not None:
        return own
    limits = (_limit(_json(directory / "tokenizer_config.json").get("model_max_length")), positions)
    return min((limit for limit in limits if limit is not None), default=_DEFAULT_MAX_LENGTH)


def _limit(value: Any) -> int | None:
    """Some models write -1 or 1e30 for "no limit"."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1_000_000:
        return None
    return int(value)


def _json(path: Path, kind: type = dict) -> Any:
    """What the file holds; empty when there is no file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return kind()
    except (OSError, ValueError) as error:
        raise StartupError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, kind):
        raise StartupError(f"{path} is broken: a JSON {'array' if kind is list else 'object'} is expected")
    return value
