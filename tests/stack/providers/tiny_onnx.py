"""ONNX files and tokenizers of a few bytes, written by hand: a table of vectors and a look-up."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "red", "green", "blue"]
# The vector of token n; negative numbers, so that a maximum taken over padding would show.
TABLE = np.array([[100, 100], [-1, -2], [-3, -8], [-5, -5], [-9, -1], [-2, -6], [-4, -4]], dtype=np.float32)

BERT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_INT64, _FLOAT = 7, 1


def write_tokenizer(directory: Path) -> None:
    """`[CLS] words [SEP]`; padding and truncation are set the wrong way, as published files have them."""
    tokenizer = Tokenizer(
        WordLevel({word: position for position, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=16)
    tokenizer.enable_truncation(3)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))


def write_model(
    path: Path,
    *,
    inputs: Sequence[str] = BERT_INPUTS,
    tokens: str | None = "last_hidden_state",
    pooled: str | None = None,
    table: np.ndarray = TABLE,
) -> None:
    """A model whose token vectors are rows of `table`; the pooled output, if named, is the first token's vector."""
    nodes = [_node("Gather", ["table", "input_ids"], "vectors", 0)]
    outputs = []
    if pooled:
        nodes.append(_node("Gather", ["vectors", "first"], pooled, 1))
        outputs.append(_value(12, pooled, _FLOAT, ["texts", table.shape[1]]))
    if tokens:
        nodes.append(_field(1, _field(1, "vectors") + _field(2, tokens) + _field(4, "Identity")))
        outputs.append(_value(12, tokens, _FLOAT, ["texts", "tokens", table.shape[1]]))
    graph = b"".join(
        [
            *nodes,
            _field(2, "tiny"),
            _tensor("table", _FLOAT, table),
            _tensor("first", _INT64, np.array(0, dtype=np.int64)),
            *(_value(11, name, _INT64, ["texts", "tokens"]) for name in inputs),
            *outputs,
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 17)))


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _varint(number: int) -> bytes:
    head = b""
    while number > 127:
        head += bytes([number & 127 | 128])
        number >>= 7
    return head + bytes([number])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _node(operation: str, inputs: list[str], output: str, axis: int) -> bytes:
    attribute = _field(1, "axis") + _field(3, axis) + _field(20, 2)
    names = b"".join(_field(1, name) for name in inputs)
    return _field(1, names + _field(2, output) + _field(4, operation) + _field(5, attribute))


def _tensor(name: str, kind: int, array: np.ndarray) -> bytes:
    dimensions = b"".join(_field(1, size) for size in array.shape)
    return _field(5, dimensions + _field(2, kind) + _field(8, name) + _field(9, array.tobytes()))


def _value(number: int, name: str, kind: int, shape: Sequence[str | int]) -> bytes:
    dimensions = b"".join(_field(1, _field(1 if isinstance(size, int) else 2, size)) for size in shape)
    tensor = _field(1, kind) + _field(2, dimensions)
    return _field(number, _field(1, name) + _field(2, _field(1, tensor)))
