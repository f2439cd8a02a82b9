"""The routes of the scripted model."""

import json
from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.scripted_model.chat import Chat
from tests.scripted_model.embedding import as_base64, embed
from tests.scripted_model.error import ApiError, invalid_api_key, model_not_found
from tests.scripted_model.script import CHAT, Received, Script


def build(
    script: Script,
    *,
    models: Sequence[str],
    embedding_models: Sequence[str],
    embedding_dimension: int,
    api_key: str | None,
) -> ASGIApp:
    cards = {name: _card(name) for name in [*models, *embedding_models]}

    async def list_models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": list(cards.values())})

    async def get_model(request: Request) -> Response:
        name = request.path_params["name"]
        return JSONResponse(cards[name]) if name in cards else _error(model_not_found(name))

    async def embeddings(request: Request) -> Response:
        body = request.scope["received"].body
        if body["model"] not in embedding_models:
            return _error(model_not_found(body["model"]))
        return JSONResponse(_embeddings(body, embedding_dimension))

    routes = [
        Route("/v1/models", list_models),
        Route("/v1/models/{name:path}", get_model),
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route(CHAT, Chat(script, frozenset(models)), methods=["POST"]),
    ]
    return _Recorder(Starlette(routes=routes), script, api_key)


class _Recorder:
    """Reads and records each request before it is routed; refuses wrong keys and failing paths."""

    def __init__(self, app: ASGIApp, script: Script, api_key: str | None) -> None:
        self._app = app
        self._script = script
        self._api_key = api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        raw = await Request(scope, receive).body()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request = Received(scope["method"], scope["path"], headers, _parse(raw), raw)
        scope["received"] = request
        failure = self._script.failures.get(request.path)
        if self._api_key is not None and headers.get("authorization") != f"Bearer {self._api_key}":
            failure = invalid_api_key()
        self._script.record(request)
        app: ASGIApp = _error(failure) if failure else self._app
        await app(scope, receive, send)


def _card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "scripted"}


def _embeddings(body: dict[str, Any], dimension: int) -> dict[str, Any]:
    given = body["input"]
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        given = [given]
    texts = [text if isinstance(text, str) else " ".join(map(str, text)) for text in given]
    vectors = [embed(text, body.get("dimensions") or dimension) for text in texts]
    encode = as_base64 if body.get("encoding_format") == "base64" else list
    tokens = sum(len(text.split()) for text in texts)
    return {
        "object": "list",
        "model": body["model"],
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _error(error: ApiError) -> Response:
    return JSONResponse(error.body(), error.status, headers=dict(error.headers))
