from typing import Any

import pytest

from lightspeed.stack.run_file.checking import (
    default_model_warnings,
    reference_problems,
    shape_problems,
    without_repeated_stores,
)

OPENAI = {"provider_id": "openai", "provider_type": "remote::openai"}
OFF = {"provider_id": None, "provider_type": "remote::openai"}


def test_a_sound_file_has_no_problems() -> None:
    tree = {
        "apis": ["inference"],
        "providers": {"inference": [OPENAI, OFF, OFF], "safety": None},
        "registered_resources": {"models": [{"model_id": "m", "provider_id": "openai"}], "shields": None},
        "storage": {"backends": {"kv": {"type": "kv_sqlite"}}, "stores": {}},
    }
    assert list(shape_problems(tree)) == []
    assert list(reference_problems(tree)) == []


def test_apis_of_others_are_not_judged() -> None:
    tree = {"apis": ["weather"], "providers": {"weather": [OPENAI]}}
    assert len(list(shape_problems(tree))) == 2
    assert list(shape_problems(tree | {"external_apis_dir": "/somewhere"})) == []


def test_every_problem_is_told() -> None:
    tree = {"apis": [1], "providers": {"inference": [OPENAI, OPENAI]}, "storage": {"stores": 1}}
    assert list(shape_problems(tree)) == [
        "apis[0]: must be text",
        "providers.inference.openai: is the id of 2 providers",
        "storage.stores: must be a mapping of keys to values",
    ]


def test_resources_of_providers_that_are_off_are_told() -> None:
    models = [
        {"model_id": "m", "provider_id": "openai"},
        {"model_id": "n"},
        {"model_id": "o", "provider_id": "__disabled__"},
    ]
    tree = {"providers": {"inference": [OFF]}, "registered_resources": {"models": models}}
    assert list(reference_problems(tree)) == [
        "registered_resources.models.m.provider_id: there is no provider `openai` for inference; there: none"
    ]  # fmt: skip


def test_the_first_of_several_stores_providers_is_used() -> None:
    first, second = {"provider_id": "faiss", "config": {"a": 1}}, {"provider_id": "faiss", "config": {"a": 2}}
    tree: dict[str, Any] = {"providers": {"vector_io": [first, second, {"provider_id": "other"}]}}
    assert list(without_repeated_stores(tree)) == [
        "providers.vector_io.faiss: is given twice; the first one is used"
    ]
    assert tree["providers"]["vector_io"] == [first, {"provider_id": "other"}]


@pytest.mark.parametrize(
    ("provider", "model", "config", "warning"),
    [
        (None, None, {}, None),
        ("openai", "m", {}, None),
        ("openai", "m", {"allowed_models": ["m"]}, None),
        ("openai", "m", {"allowed_models": ["n"]}, "inference.default_model: `m` is not among the `allowed_models` of `openai`"),
        ("opnai", "m", {}, "inference.default_provider: there is no provider `opnai`; there: openai"),
    ],
)  # fmt: skip
def test_a_default_model_that_nothing_offers(
    provider: str | None, model: str | None, config: dict[str, Any], warning: str | None
) -> None:
    tree = {"providers": {"inference": [OPENAI | {"config": config}, OFF]}}
    assert list(default_model_warnings(tree, provider, model)) == ([warning] if warning else [])
