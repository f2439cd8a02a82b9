"""Which model answers."""

import pytest

from lightspeed.assistant.model_choice import NoModelConfigured, choose_model
from lightspeed.assistant.settings import AssistantSettings
from lightspeed.errors import NotFound
from lightspeed.stack.models import Model

MODELS = [
    Model("onnx/mini", "onnx", "mini", "embedding"),
    Model("acme/m1", "acme", "m1", "llm"),
    Model("alias", "acme", "m2-long-name", "llm"),
    Model("other/m1", "other", "m1", "llm"),
]
NONE = (None, None)


@pytest.mark.parametrize(
    ("requested", "last_used", "default", "chosen"),
    [
        (("other", "m1"), ("acme", "m1"), ("acme", "m1"), "other/m1"),
        (("acme", "acme/m1"), NONE, NONE, "acme/m1"),
        (("acme", "alias"), NONE, NONE, "alias"),
        (("acme", "m2-long-name"), NONE, NONE, "alias"),
        (NONE, ("other", "m1"), ("acme", "m1"), "other/m1"),
        (NONE, ("acme", "retired"), ("other", "m1"), "other/m1"),
        (NONE, NONE, ("other", "m1"), "other/m1"),
        (NONE, NONE, NONE, "acme/m1"),
    ],
)
def test_the_order_of_choice(
    requested: tuple[str | None, str | None],
    last_used: tuple[str | None, str | None],
    default: tuple[str | None, str | None],
    chosen: str,
) -> None:
    settings = AssistantSettings(default_provider=default[0], default_model=default[1])
    assert choose_model(MODELS, settings, requested, last_used).identifier == chosen


def test_unknown_models_and_providers_are_told_apart() -> None:
    with pytest.raises(NotFound, match="Model with ID m9"):
        choose_model(MODELS, AssistantSettings(), ("acme", "m9"), NONE)
    with pytest.raises(NotFound, match="Provider with ID nobody"):
        choose_model(MODELS, AssistantSettings(), ("nobody", "m1"), NONE)
    with pytest.raises(NotFound, match="Model with ID mini"):
        choose_model(MODELS, AssistantSettings(), ("onnx", "mini"), NONE)


def test_no_model_at_all() -> None:
    with pytest.raises(NoModelConfigured, match="No Model is configured"):
        choose_model(MODELS[:1], AssistantSettings(), NONE, NONE)
