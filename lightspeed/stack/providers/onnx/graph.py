"""An ONNX file that turns token ids into vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from lightspeed.errors import StartupError

_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_POOLED_NAMES = ("sentence_embedding", "sentence_embeddings")
_TOKEN_NAMES = ("token_embeddings", "last_hidden_state")


def find_onnx_file(directory: Path, file: str | None) -> Path:
    """The ONNX file in `directory`, which `file` may name. Raises StartupError when there is none or no clear one."""
    if not directory.is_dir():
        raise StartupError(f"The model directory {directory} is not a directory")
    if file is not None:
        if not (directory / file).is_file():
            raise StartupError(f"The ONNX file {directory / file} does not exist")
        return directory / file
    for name in ("model.onnx", "onnx/model.onnx"):
        if (directory / name).is_file():
            return directory / name
    found = sorted([*directory.glob("*.onnx"), *directory.glob("onnx/*.onnx")])
    if not found:
        raise StartupError(f"The model directory {directory} holds no ONNX file")
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(directory)) for path in found)
        raise StartupError(
            f"The model directory {directory} holds several ONNX files, set 'file' to one of: {names}"
        )
    return found[0]


class Graph:
    """One loaded ONNX file, safe to run from many threads at once.

    `per_token` asks for the vectors of the tokens when the file offers both those and one vector for each text.
    """

    def __init__(self, path: Path, *, threads: int, per_token: bool) -> None:
        self.path = path
        self._session = _session(path, threads)
        self._inputs: dict[str, Any] = {
            each.name: _INTEGERS.get(each.type) for each in self._session.get_inputs()
        }
        self._output = _chosen_output(self._session.get_outputs(), per_token=per_token)
        missing = {"input_ids", "attention_mask"} - self._inputs.keys()
        unknown = self._inputs.keys() - {"input_ids", "attention_mask", "token_type_ids"}
        if missing or unknown or None in self._inputs.values():
            expected = "input_ids, attention_mask and perhaps token_type_ids, all of integers"
            raise StartupError(
                f"{path} is no text embedding model: it takes {', '.join(self._inputs)}, not {expected}"
            )

    def run(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Both texts x tokens -> texts x tokens x dimension, or texts x dimension if the graph pools by itself."""
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feed = {name: values[name].astype(kind, copy=False) for name, kind in self._inputs.items()}
        return np.asarray(self._session.run([self._output], feed)[0], dtype=np.float32)


def _session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads would burn the cores that the web face and the language model need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Batches differ in shape: the arena and the patterns would keep the memory of the largest of each for ever.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise StartupError(f"The ONNX file {path} cannot be loaded: {first_line(error)}") from error


def _chosen_output(outputs: list[Any], *, per_token: bool) -> str:
    by_name = {output.name: output for output in outputs}
    preferred = (*_TOKEN_NAMES, *_POOLED_NAMES) if per_token else (*_POOLED_NAMES, *_TOKEN_NAMES)
    for name in preferred:
        if name in by_name:
            return name
    # BERT exports carry a second, pooled output that is not an embedding of the text: three axes come first.
    by_axes = sorted(outputs, key=lambda output: len(output.shape) != 3)
    return str(by_axes[0].name)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for messages of one line."""
    return next(iter(str(error).splitlines()), type(error).__name__)
