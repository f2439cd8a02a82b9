"""`python -m tests.scripted_model`: the scripted model as a process, for benchmarks."""

import argparse
import re
from functools import cache
from typing import Any

import uvicorn

from tests.scripted_model.reply import Reply
from tests.scripted_model.server import ScriptedModel, server_config


def main() -> None:
    parser = argparse.ArgumentParser(description="A model server that answers with words that mean nothing.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens", type=int, default=32, help="a question with `N tokens` in it gets N")
    parser.add_argument("--delay-ms", type=float, default=0, help="between two tokens")
    options = parser.parse_args()

    @cache
    def words(tokens: int) -> Reply:
        return Reply(tokens=tokens, delay_between=options.delay_ms / 1000)

    def answer(body: dict[str, Any]) -> Reply:
        asked = re.search(r"(\d+) tokens", str(body["messages"][-1].get("content")))
        return words(int(asked[1]) if asked else options.tokens)

    model = ScriptedModel(default=answer, record=False)
    uvicorn.Server(server_config(model.app, options.port)).run()


if __name__ == "__main__":
    main()
