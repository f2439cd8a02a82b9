"""Validators of tools that are made once."""

from functools import cache
from typing import Any

from llama_stack.core.routers import inference
from pydantic import TypeAdapter


def keep_validators() -> None:
    """The stack's router makes a validator anew for each tool of each call, always the same one, in 1 to 2 ms."""
    router: Any = inference
    if router.TypeAdapter is TypeAdapter:
        router.TypeAdapter = cache(TypeAdapter)
