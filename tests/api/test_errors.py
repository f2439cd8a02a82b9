import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi import Query as FromQuery
from starlette.exceptions import HTTPException

from lightspeed.api.endpoint import Access, Call, Endpoint
from lightspeed.api.errors import MAX_SCHEMA_ERRORS, SchemaError
from lightspeed.errors import ModelQuotaExceeded, NotFound, ProviderUnavailable, StorageError
from tests.api.declared_api import Answer, Filter, Question, application, ask, client

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


def reference() -> FastAPI:
    """The framework whose error list is the wire format."""
    app = FastAPI(strict_content_type=False)

    @app.post("/v1/query")
    async def query(question: Question) -> str:
        return ""

    @app.get("/v1/models")
    async def models(filters: Filter = FromQuery()) -> str:  # noqa: B008
        return ""

    return app


async def models(call: Call[None, Filter]) -> Answer:
    return Answer(response="")


def ours() -> Any:
    listing = Endpoint(
        "GET", "/v1/models", models, action=Access.PUBLIC, tags=(), summary="", query=Filter, response=Answer
    )
    return application([ask(action=Access.PUBLIC), listing])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b'"text"',
        b"12",
        b"{bad}",
        b'{"query": "a"',
        b'{"query": "a",}',
        b"{'query': 1}",
        b'\n\n{"query": tru}',
        b'{"query": "\x01"}',
        b'{"query": 1, "count": "x", "extra": [1, {"a": null}]}',
        b'{"query": "forbidden"}',
        b'{"query": "a", "attachments": [{"kind": 1}, 2, {"kind": "log", "size": 0, "more": "x"}]}',
        b'{"query": "a", "attachments": {"kind": "log"}}',
        b'{"query": "\xc3\xa4\xf0\x9f\x98\x80", "count": 1.5}',
        b'{"query": "a", "anything": 123456789012345678901234567890}',
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "application/problem+json", None, "text/plain"])
async def test_schema_errors_are_those_of_fastapi(content: bytes, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    async with client(reference()) as theirs, client(ours()) as http:
        expected = await theirs.post("/v1/query", content=content, headers=headers)
        actual = await http.post("/v1/query", content=content, headers=headers)
    assert expected.status_code == 422
    assert actual.status_code == 422
    assert actual.json() == expected.json()


@pytest.mark.parametrize("query", ["limit=x", "limit=", "colour=red", "limit=1.5&tag=a&tag=b&more=1"])
async def test_query_errors_are_those_of_fastapi(query: str) -> None:
    async with client(reference()) as theirs, client(ours()) as http:
        expected = await theirs.get(f"/v1/models?{query}")
        actual = await http.get(f"/v1/models?{query}")
    assert actual.status_code == 422
    assert actual.json() == expected.json()


@pytest.mark.parametrize(
    ("content", "position", "error"),
    [
        (b'{"query": "a", "query": "b"}', 24, 'Detected duplicate key "query"'),
        (b'{"query": NaN}', 11, "expected value"),
        (b'{"query": -Infinity}', 12, "invalid number"),
        (b'{"query": "\xff"}', 11, "Invalid UTF-8"),
        (b'{"query": "\\ud800"}', 18, "unexpected end of hex escape"),
        (b'{"query": ' + b"[" * 500 + b"]" * 500 + b"}", 211, "recursion limit exceeded"),
        (b"[" * 100_000, 0, None),
        (b"9" * 10_000, 0, None),
        (b"\xef\xbb\xbf{}", 0, "Unexpected UTF-8 BOM (decode using utf-8-sig)"),
    ],
)
async def test_what_lenient_parsers_accept_is_malformed(
    content: bytes, position: int, error: str | None
) -> None:
    async with client(ours()) as http:
        response = await http.post("/v1/query", content=content, headers=JSON)
    assert response.status_code == 422
    (entry,) = response.json()["detail"]
    assert (entry["type"], entry["msg"], entry["input"]) == ("json_invalid", "JSON decode error", {})
    if error is not None:
        assert entry["loc"] == ["body", position]
        assert entry["ctx"] == {"error": error}


async def test_numbers_that_json_cannot_tell_are_echoed_as_null() -> None:
    async with client(ours()) as http:
        response = await http.post("/v1/query", content=b'{"query": 1e999}', headers=JSON)
    assert response.status_code == 422
    assert response.json()["detail"][0]["input"] is None


async def test_deep_but_legal_nesting_is_echoed() -> None:
    deep = b"[" * 180 + b"]" * 180
    async with client(ours()) as http:
        response = await http.post("/v1/query", content=b'{"query": ' + deep + b"}", headers=JSON)
    assert response.status_code == 422
    assert response.json()["detail"][0]["input"] == json.loads(deep)


async def test_body_that_is_not_text_is_echoed_harmlessly() -> None:
    async with client(ours()) as http:
        response = await http.post("/v1/query", content=b"\xff\xfe", headers={"Content-Type": "image/png"})
    assert response.json()["detail"][0]["input"] == "\ufffd\ufffd"


async def test_large_bodies_are_not_echoed() -> None:
    async with client(ours()) as http:
        response = await http.post("/v1/query", json={"anything": {"text": "x" * 100_000}})
    assert response.json()["detail"] == [
        {"type": "missing", "loc": ["body", "query"], "msg": "Field required"}
    ]


async def test_list_of_errors_is_bounded() -> None:
    async with client(ours()) as http:
        response = await http.post("/v1/query", json={"query": "a", "attachments": [1] * 5000})
    assert len(response.json()["detail"]) == MAX_SCHEMA_ERRORS


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (
            NotFound("Model", "x"),
            404,
            {"response": "Model not found", "cause": "Model with ID x does not exist"},
        ),
        (
            ModelQuotaExceeded("m", headers={"Retry-After": "7"}),
            429,
            {
                "response": "The model quota has been exceeded",
                "cause": "The token quota for model m has been exceeded.",
            },
        ),
        (HTTPException(418, "teapot", {"Retry-After": "7"}), 418, "teapot"),
        (SchemaError.missing("path", "id"), 422, None),
    ],
)
async def test_errors_of_handlers(error: Exception, status: int, detail: Any) -> None:
    async def fail(call: Call) -> Answer:
        raise error

    async with client(application([ask(fail)])) as http:
        response = await http.post("/v1/query", json={"query": "a"})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    if detail is not None:
        assert response.json() == {"detail": detail}
    if status in {418, 429}:
        assert response.headers["retry-after"] == "7"


async def test_server_errors_are_logged_with_what_caused_them(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(call: Call) -> Answer:
        try:
            raise OSError("disk full")
        except OSError as error:
            raise StorageError("Failed to query the database") from error

    with caplog.at_level(logging.ERROR, "lightspeed"):
        async with client(application([ask(fail)])) as http:
            response = await http.post("/v1/query?user_id=secret", json={"query": "a"})
    assert response.status_code == 500
    assert "disk full" not in response.text
    assert "disk full" in caplog.text
    assert "secret" not in caplog.text


async def test_a_provider_that_is_away_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def away(call: Call) -> Answer:
        try:
            raise ConnectionError("long story")
        except ConnectionError as error:
            raise ProviderUnavailable("The connection was refused.") from error

    with caplog.at_level(logging.ERROR, "lightspeed"):
        async with client(application([ask(away)])) as http:
            answer = await http.post("/v1/query", json={"query": "Hello?"})
    assert answer.status_code == 503
    assert "The connection was refused." in caplog.text
    assert "Traceback" not in caplog.text
