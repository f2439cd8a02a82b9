"""When the service says that it can answer questions."""

import pytest

from lightspeed.assistant.availability import Availability, availability
from lightspeed.assistant.settings import AssistantSettings
from lightspeed.stack.models import Model

DEFAULT = AssistantSettings(default_provider="a", default_model="one")
ANY = AssistantSettings()


def model(provider: str, name: str, kind: str = "llm") -> Model:
    return Model(f"{provider}/{name}", provider, name, kind)


A, B, EMBEDDING = model("a", "one"), model("b", "two"), model("e", "vectors", "embedding")


@pytest.mark.parametrize("settings", [DEFAULT, ANY])
def test_all_is_well(settings: AssistantSettings) -> None:
    assert availability([A, B, EMBEDDING], settings, {"a", "b", "e"}, ()) == Availability()


@pytest.mark.parametrize("settings", [DEFAULT, ANY])
@pytest.mark.parametrize("models", [[A, B, EMBEDDING], [A, EMBEDDING], [EMBEDDING]])
def test_no_provider_answers(models: list[Model], settings: AssistantSettings) -> None:
    """Whether it has told its models before or not; that embeddings work does not help."""
    found = availability(models, settings, {"a", "b", "e"}, {"a", "b"})
    assert found == Availability("Providers not healthy: a, b")


def test_another_provider_answers() -> None:
    for models in ([A, B], [B]):
        found = availability(models, DEFAULT, {"a", "b"}, {"a"})
        assert found.refusal is None
        assert found.impact == "Questions that name no model are not answered: provider a is down."
        assert availability(models, DEFAULT, {"a", "b"}, {"b"}).refusal is None


def test_a_default_model_that_its_provider_does_not_have() -> None:
    settings = AssistantSettings(default_provider="b", default_model="one")
    assert availability([A, B], settings, {"a", "b"}, ()).refusal == "Model b/one not found in model registry"


def test_a_default_of_no_provider_at_all() -> None:
    assert availability([B], DEFAULT, {"b"}, ()).refusal == "Model a/one not found in model registry"


def test_nobody_talks() -> None:
    refusal = "No model that answers questions is configured"
    assert availability([EMBEDDING], ANY, {"e"}, ()).refusal == refusal


def test_embeddings_that_are_down_keep_no_question_from_being_answered() -> None:
    assert availability([A, EMBEDDING], DEFAULT, {"a", "e"}, {"e"}) == Availability()
