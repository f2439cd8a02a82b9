"""Embeddings without a model: texts that share words are near."""

import base64
import hashlib
import math
import re
import struct
from functools import lru_cache

_POSITIONS_PER_WORD = 8


def embed(text: str, dimension: int) -> list[float]:
    """The unit vector of `text`: the sum of its words' vectors, case and order aside."""
    vector = [0.0] * dimension
    for word in re.findall(r"\w+", text.lower()) or [""]:
        for position, sign in _directions(word, dimension):
            vector[position] += sign
    length = math.hypot(*vector)
    if not length:
        return [1.0, *vector[1:]]
    return [value / length for value in vector]


def as_base64(vector: list[float]) -> str:
    """Little-endian 32-bit floats, which the SDK asks for by default."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


@lru_cache(maxsize=10_000)
def _directions(word: str, dimension: int) -> list[tuple[int, float]]:
    digest = hashlib.blake2b(word.encode(), digest_size=4 * _POSITIONS_PER_WORD).digest()
    numbers = struct.unpack(f"<{_POSITIONS_PER_WORD}I", digest)
    return [((number >> 1) % dimension, 1.0 if number & 1 else -1.0) for number in numbers]
