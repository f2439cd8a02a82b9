"""One call of a model: what it has said, and what it has taken."""

import pytest

from lightspeed.assistant.events import Usage
from lightspeed.assistant.model_round import ModelRound
from lightspeed.errors import ModelRefused
from lightspeed.stack.chat import ChatPiece, ChatRequest, ToolCallPiece

pytestmark = pytest.mark.anyio

QUESTION = ChatRequest("m", [{"role": "user", "content": "How many nodes?"}], stream=True)


class SilentModel:
    """Takes the question and says nothing, or refuses it."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def chat(self, request: ChatRequest) -> object:
        if self._error is not None:
            raise self._error
        return self


async def asked(model: SilentModel | None = None) -> ModelRound:
    taken = ModelRound(QUESTION)
    await taken.ask(model or SilentModel())  # type: ignore[arg-type]
    return taken


async def test_what_the_provider_has_counted_wins() -> None:
    taken = await asked()
    taken.text.append("Two nodes.")
    taken.take(ChatPiece(input_tokens=40, output_tokens=70))
    assert await taken.usage() == Usage(40, 70)


@pytest.mark.parametrize("nonsense", [-1, 2**40, "many", None])
async def test_what_it_has_not_counted_is_estimated(nonsense: int) -> None:
    taken = await asked()
    taken.text.append("Two nodes.")
    taken.take(ChatPiece(input_tokens=40, output_tokens=nonsense))
    assert await taken.usage() == Usage(40, 3)


async def test_tool_calls_are_tokens_too() -> None:
    taken = await asked()
    taken.take(ChatPiece(tool_calls=(ToolCallPiece(0, "c1", "list_nodes", '{"zone": "a"}'),)))
    assert (await taken.usage()).output_tokens >= 6


async def test_calls_with_one_index_and_two_ids_are_two_calls() -> None:
    taken = await asked()
    for identifier, name in (("a", "one"), ("b", "two")):
        taken.take(ChatPiece(tool_calls=(ToolCallPiece(0, identifier, name, "{"),)))
        taken.take(ChatPiece(tool_calls=(ToolCallPiece(0, identifier, None, "}"),)))
    assert [(call.id, call.name, "".join(call.arguments)) for call in taken.calls.values()] == [
        ("a", "one", "{}"),
        ("b", "two", "{}"),
    ]


async def test_what_was_refused_or_never_asked_has_cost_nothing() -> None:
    refused = ModelRound(QUESTION)
    with pytest.raises(ModelRefused):
        await refused.ask(SilentModel(ModelRefused("no")))  # type: ignore[arg-type]
    assert await refused.usage() == await ModelRound(QUESTION).usage() == Usage()
