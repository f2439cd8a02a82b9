from pathlib import Path
from typing import Any

from lightspeed.stack.run_file.inspection import inspected

SOURCE = Path("run.yaml")
LOCAL = {
    "provider_id": "local",
    "provider_type": "inline::llamacpp",
    "module": "lightspeed.stack.providers.llamacpp",
}
ONNX = {"provider_id": "onnx", "provider_type": "inline::onnx", "module": "lightspeed.stack.providers.onnx"}


def tree(*inference: dict[str, Any]) -> dict[str, Any]:
    return {"distro_name": "d", "providers": {"inference": list(inference)}}


def test_weights_are_looked_for_but_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("no model")
    sound = LOCAL | {"config": {"model": str(tmp_path / "model.gguf")}}
    missing = ONNX | {
        "config": {"models": {"mini": {"directory": str(tmp_path / "none"), "tokenizer": "package:none"}}}
    }
    off = LOCAL | {"provider_id": None, "config": {"model": "/nowhere"}}
    assert inspected(tree(sound, off), SOURCE).problems == ()
    directory, tokenizer = inspected(tree(sound, missing), SOURCE).problems
    assert directory.startswith(
        "run.yaml: providers.inference.onnx.config.models.mini.directory: Model weights"
    )
    assert tokenizer.startswith(
        "run.yaml: providers.inference.onnx.config.models.mini.tokenizer: Model weights"
    )


def test_all_kinds_of_problems_are_told_together(tmp_path: Path) -> None:
    wrong = {"provider_id": "a", "provider_type": "remote::opnai"}
    weights = LOCAL | {"config": {"model": "/nowhere", "parallel": 0}}
    odd = {"provider_id": "v", "provider_type": "remote::vllm", "config": {"base_url": "http://h", "odd": 1}}
    found = inspected(tree(wrong, weights, odd), SOURCE)
    assert [problem.split(": ")[1] for problem in found.problems] == [
        "providers.inference.a",
        "providers.inference.local.config.parallel",
        "providers.inference.local.config.model",
    ]
    assert found.warnings == (
        "run.yaml: providers.inference.v.config.odd: is not a setting of remote::vllm; has no effect",
    )


def test_a_file_that_the_stack_does_not_understand() -> None:
    found = inspected(
        tree() | {"storage": {"stores": {"metadata": {"backend": "none", "namespace": "n"}}}}, SOURCE
    )
    (problem,) = found.problems
    assert "storage.stores.metadata references unknown backend 'none'" in problem
