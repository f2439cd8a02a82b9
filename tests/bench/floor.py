"""The floor: the least that a Python service can do between a client and a model provider.

A bare Starlette handler that forwards questions through one pooled HTTP client. It stores, checks and
counts nothing, so what our service takes beyond it is the price of what our service does.
"""

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

_END = 'data: {"event": "end", "data": {}}\n\n'


def build(upstream: str) -> Starlette:
    """`upstream` is the provider's base URL."""
    url = f"{upstream}/chat/completions"

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:
            yield {"client": client}

    async def query(request: Request) -> Response:
        answer = await request.state.client.post(url, json=await _payload(request, stream=False))
        return JSONResponse({"response": answer.json()["choices"][0]["message"]["content"]})

    async def stream(request: Request) -> Response:
        payload = await _payload(request, stream=True)
        events = _events(request.state.client, url, payload)
        return StreamingResponse(events, media_type="text/event-stream")

    async def alive(request: Request) -> Response:
        return JSONResponse({"alive": True})

    routes = [
        Route("/query", query, methods=["POST"]),
        Route("/stream", stream, methods=["POST"]),
        Route("/liveness", alive),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _payload(request: Request, *, stream: bool) -> dict[str, Any]:
    question = (await request.json())["query"]
    messages = [{"role": "user", "content": question}]
    return {"model": "scripted", "messages": messages, "stream": stream}


async def _events(client: httpx.AsyncClient, url: str, payload: dict[str, Any]) -> AsyncIterator[str]:
    number = 0
    async with client.stream("POST", url, json=payload) as answer:
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            text = json.loads(line[6:])["choices"][0]["delta"].get("content")
            if text:
                event = {"event": "token", "data": {"id": number, "token": text}}
                yield f"data: {json.dumps(event)}\n\n"
                number += 1
    yield _END


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    uvicorn.run(
        build(options.upstream),
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
