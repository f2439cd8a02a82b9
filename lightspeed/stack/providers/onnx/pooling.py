"""From the vectors of the tokens to one vector for each text."""

from typing import Any, cast

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


def pool(tokens: Vectors, mask: npt.NDArray[Any], mode: str) -> Vectors:
    """Texts x tokens x dimension -> texts x dimension; `mask` (texts x tokens) is 0 where a token is padding.

    Texts are padded on the right, and every text has a token. Raises ValueError for an unknown mode.
    """
    if mode == "cls":
        return tokens[:, 0]
    weights = mask[..., np.newaxis].astype(np.float32)
    if mode == "max":
        return cast("Vectors", np.where(weights > 0, tokens, -np.inf).max(axis=1).astype(np.float32))
    if mode == "mean":
        return cast("Vectors", (tokens * weights).sum(axis=1) / weights.sum(axis=1))
    raise ValueError(f"the pooling '{mode}' is not supported (mean, cls and max are)")


def normalized(vectors: Vectors) -> Vectors:
    """Each row scaled to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return cast("Vectors", vectors / np.maximum(lengths, 1e-12))
