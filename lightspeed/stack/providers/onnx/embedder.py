"""One embedding model: its tokenizer, its graph, and how vectors are made of texts."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as NormalizerSequence

from lightspeed.errors import StartupError
from lightspeed.stack.providers.onnx.config import OnnxModel
from lightspeed.stack.providers.onnx.graph import Graph, find_onnx_file, first_line
from lightspeed.stack.providers.onnx.model_settings import ModelSettings, read_model_settings
from lightspeed.stack.providers.onnx.pooling import Vectors, normalized, pool
from lightspeed.stack.weights import weights_path

Tokens = npt.NDArray[np.int32]

_TOKENIZED_TOGETHER = 64


class Embedder:
    """Texts to vectors, synchronous and safe to use from many threads at once.

    `dimension` is the width of a vector, `max_length` the tokens after which a text is cut.
    """

    def __init__(self, graph: Graph, tokenizer: Any, settings: ModelSettings) -> None:
        """Runs the graph once. Raises StartupError when it does not answer with vectors."""
        self._graph = graph
        self._tokenizer = tokenizer
        self._settings = settings
        self._pad_id = _pad_id(tokenizer)
        tokenizer.no_padding()
        tokenizer.enable_truncation(settings.max_length)
        self._counter = Tokenizer.from_str(tokenizer.to_str())
        self._counter.no_truncation()
        self.max_length = settings.max_length
        self.dimension = self._probe()

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """The token ids of each text, cut at `max_length`."""
        tokens: list[Tokens] = []
        # In slices: an encoding takes thirty times the memory of its ids.
        for start in range(0, len(texts), _TOKENIZED_TOGETHER):
            # Text taken out of documents may hold lone surrogates, which have no UTF-8.
            clean = [
                text.encode("utf-8", "replace").decode("utf-8")
                for text in texts[start : start + _TOKENIZED_TOGETHER]
            ]
            encodings = self._tokenizer.encode_batch_fast(clean)
            tokens += [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        return tokens

    def count_tokens(self, text: str) -> int:
        """The tokens of a text that nothing cuts."""
        return len(self._counter.encode(text.encode("utf-8", "replace").decode("utf-8")))

    def vectors(self, batch: Sequence[Tokens]) -> Vectors:
        """The token ids of one batch of texts to a float32 array of texts x dimension."""
        width = max(1, *map(len, batch))
        ids = np.full((len(batch), width), self._pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        mask[:, 0] = 1
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        answer = self._graph.run(ids, mask)
        rows = answer if answer.ndim == 2 else pool(answer, mask, self._settings.pooling)
        return normalized(rows) if self._settings.normalize else rows

    def _probe(self) -> int:
        path = self._graph.path
        tokens = self.tokenize(["probe", "a probe of a few words"])
        try:
            one = np.ones((2, max(map(len, tokens))), dtype=np.int64)
            axes = self._graph.run(one, one).ndim
            if axes == 3 and self._settings.unsupported_modules:
                names = ", ".join(self._settings.unsupported_modules)
                raise ValueError(f"its modules.json asks for {names}, which is not supported")
            if axes not in {2, 3}:
                raise ValueError(f"its output has {axes} axes, not 2 or 3")
            rows = self.vectors(tokens)
        except Exception as error:
            raise StartupError(
                f"The ONNX file {path} cannot be used for embeddings: {first_line(error)}"
            ) from error
        if rows.shape[0] != 2 or rows.shape[1] == 0 or not np.isfinite(rows).all():
            raise StartupError(
                f"The ONNX file {path} cannot be used for embeddings: its vectors are not finite numbers"
            )
        return int(rows.shape[1])


def load_embedder(model: OnnxModel, *, threads: int) -> Embedder:
    """Load a configured model; takes about half a second for 20 MB. Raises StartupError."""
    directory = weights_path(model.directory)
    path = find_onnx_file(directory, model.file)
    tokenizer_directory = weights_path(model.tokenizer) if model.tokenizer else directory
    settings = read_model_settings(tokenizer_directory, model)
    tokenizer = _tokenizer(tokenizer_directory / "tokenizer.json", lower_case=settings.lower_case)
    return Embedder(Graph(path, threads=threads, per_token=model.pooling is not None), tokenizer, settings)


def batches(lengths: Sequence[int], *, most_texts: int, most_tokens: int) -> Iterator[list[int]]:
    """Positions of texts, grouped so that texts of like length share a batch.

    `lengths` are in tokens. A batch holds at most `most_texts` texts and `most_tokens` tokens, padding
    included; a text longer than that is alone. The longest come first.
    """
    batch: list[int] = []
    width = 0
    for position in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and (len(batch) == most_texts or (len(batch) + 1) * width > most_tokens):
            yield batch
            batch = []
        if not batch:
            width = lengths[position]
        batch.append(position)
    if batch:
        yield batch


def _pad_id(tokenizer: Any) -> int:
    if tokenizer.padding:
        return int(tokenizer.padding["pad_id"])
    known = (tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>"))
    return next((token for token in known if token is not None), 0)


def _tokenizer(path: Path, *, lower_case: bool) -> Any:
    if not path.is_file():
        raise StartupError(f"The tokenizer {path} does not exist")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise StartupError(f"The tokenizer {path} cannot be loaded: {first_line(error)}") from error
    if lower_case:
        own = tokenizer.normalizer
        tokenizer.normalizer = NormalizerSequence([Lowercase(), own]) if own else Lowercase()
    return tokenizer
