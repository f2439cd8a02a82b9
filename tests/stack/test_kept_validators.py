"""The stack's router checks tools, and makes what checks them once."""

import pytest
from llama_stack.core.routers import inference
from pydantic import TypeAdapter, ValidationError

from lightspeed.stack.kept_validators import keep_validators


def test_validators_are_made_once_and_still_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "TypeAdapter", TypeAdapter)
    keep_validators()
    keep_validators()
    kept = inference.TypeAdapter(inference.OpenAIChatCompletionToolParam)
    assert kept is inference.TypeAdapter(inference.OpenAIChatCompletionToolParam)
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    assert kept.validate_python(tool) == tool
    with pytest.raises(ValidationError):
        kept.validate_python({"type": "function"})
