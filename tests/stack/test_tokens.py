"""Tokens of calls for which no provider has counted."""

import pytest

from lightspeed.stack.chat import ChatRequest
from lightspeed.stack.environment import prepare_environment
from lightspeed.stack.tokens import estimated_tokens

pytestmark = pytest.mark.anyio

QUESTION = [{"role": "user", "content": "How many nodes?"}]
TOOL = {"type": "function", "function": {"name": "list_nodes", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "list_nodes", "arguments": '{"zone": "a"}'}}


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    prepare_environment(environment)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", environment["TIKTOKEN_CACHE_DIR"])


async def test_tokens_of_a_question_and_its_answer() -> None:
    assert await estimated_tokens(ChatRequest("m", QUESTION, stream=True), "Two nodes.") == (8, 3)
    assert await estimated_tokens(ChatRequest("m", QUESTION, stream=True), "") == (8, 0)


async def test_tools_and_their_calls_are_sent_too() -> None:
    bare = ChatRequest("m", QUESTION, stream=True)
    with_tools = ChatRequest("m", QUESTION, stream=True, tools=[TOOL])
    called = ChatRequest(
        "m", [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [CALL]}], stream=True
    )
    sent = [(await estimated_tokens(request, ""))[0] for request in (bare, with_tools, called)]
    assert sent[0] + 10 < sent[1]
    assert sent[0] + 8 < sent[2]


async def test_without_tables_the_length_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    assert await estimated_tokens(ChatRequest("m", QUESTION, stream=True), "123456789") == (8, 3)


async def test_broken_tables_do_not_fail_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    import tiktoken

    def broken(_: str) -> None:
        raise OSError("no tables")

    monkeypatch.setattr(tiktoken, "get_encoding", broken)
    assert await estimated_tokens(ChatRequest("m", QUESTION, stream=True), "123456789") == (8, 3)


async def test_odd_text_is_counted() -> None:
    request = ChatRequest("m", [{"role": "user", "content": "a" * 1_000_000 + "\ud800"}], stream=True)
    sent, received = await estimated_tokens(request, " " * 1_000_000)
    assert sent > 10_000
    assert received > 1_000
