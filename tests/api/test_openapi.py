from typing import Any

import pytest
from openapi_pydantic import OpenAPI, SecurityScheme

from lightspeed.api.endpoint import Access, Endpoint
from lightspeed.api.openapi import credentials_scheme, openapi_document
from lightspeed.api.openapi_3_0 import as_3_0
from lightspeed.errors import NotFound, PromptTooLong, Unprocessable
from tests.api.declared_api import Answer, Filter, answer, ask

STREAM = ask(
    response=None,
    errors=(NotFound, PromptTooLong, Unprocessable),
    media_types=("text/event-stream", "text/plain"),
)


def document(*endpoints: Endpoint, **settings: Any) -> dict[str, Any]:
    return openapi_document(endpoints, **({"title": "Service", "version": "1.2.3"} | settings))


def get(path: str, **changes: Any) -> Endpoint:
    declared: dict[str, Any] = {"action": Access.PUBLIC, "tags": ("info",), "summary": "", "response": Answer}
    return Endpoint("GET", path, answer, **(declared | changes))


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_document_is_valid_and_complete() -> None:
    built = document(ask(), get("/v1/models", query=Filter), get("/v1/things/{name:path}"))
    OpenAPI.model_validate(built)
    assert built["openapi"] == "3.1.1"
    assert built["info"] == {"title": "Service", "version": "1.2.3"}
    assert built["servers"] == [{"url": "/"}]
    assert built["tags"] == [{"name": "info"}, {"name": "query"}]
    assert set(built["paths"]) == {"/v1/query", "/v1/models", "/v1/things/{name}"}
    known = {f"#/components/schemas/{name}" for name in built["components"]["schemas"]}
    assert references(built) <= known


def test_body_and_answer_are_the_declared_models() -> None:
    built = document(ask(status=201))
    operation = built["paths"]["/v1/query"]["post"]
    body = operation["requestBody"]
    assert body["required"] is True
    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Question"}
    assert operation["responses"]["201"]["content"] == {
        "application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}
    }
    question = built["components"]["schemas"]["Question"]
    assert question["additionalProperties"] is False
    assert question["required"] == ["query"]
    assert "Attachment" in built["components"]["schemas"]


def test_operation_ids_are_stable_and_unique() -> None:
    built = document(ask(), get("/v1/things/{name:path}"), get("/other", operation_id="other_one"))
    ids = [operation["operationId"] for item in built["paths"].values() for operation in item.values()]
    assert ids == ["post_v1_query", "other_one", "get_v1_things_name"]
    with pytest.raises(ValueError, match="same operation id"):
        document(ask(), get("/other", operation_id="post_v1_query"))


def test_parameters() -> None:
    built = document(get("/v1/things/{name}", query=Filter))
    parameters = built["paths"]["/v1/things/{name}"]["get"]["parameters"]
    assert [(entry["in"], entry["name"], entry.get("required", False)) for entry in parameters] == [
        ("path", "name", True),
        ("query", "model_type", False),
        ("query", "limit", False),
        ("query", "tag", False),
    ]
    assert "Filter" not in built["components"]["schemas"]


def test_streams_are_documented_as_text() -> None:
    content = document(STREAM)["paths"]["/v1/query"]["post"]["responses"]["200"]["content"]
    assert content == {
        "text/event-stream": {"schema": {"type": "string"}},
        "text/plain": {"schema": {"type": "string"}},
    }


def test_errors_of_gates_and_handler_are_documented_with_their_shape() -> None:
    built = document(STREAM, get("/public"))
    responses = built["paths"]["/v1/query"]["post"]["responses"]
    assert list(responses) == ["200", "401", "403", "404", "413", "422", "500", "503"]
    assert responses["413"]["description"] == "Request is too large; Prompt is too long"
    schemas = built["components"]["schemas"]
    assert schemas["NotFoundResponse"]["properties"] == {
        "detail": {"$ref": "#/components/schemas/DetailModel"}
    }
    assert responses["422"]["content"]["application/json"]["schema"] == {
        "anyOf": [
            {"$ref": "#/components/schemas/UnprocessableEntityResponse"},
            {"$ref": "#/components/schemas/HTTPValidationError"},
        ]
    }
    assert list(built["paths"]["/public"]["get"]["responses"]) == ["200", "500"]


def test_security_is_asked_for_where_a_principal_is() -> None:
    built = document(
        ask(), get("/public"), security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}
    )
    assert built["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    assert built["paths"]["/v1/query"]["post"]["security"] == [{"bearer": []}]
    assert "security" not in built["paths"]["/public"]["get"]


def test_root_path_is_the_server() -> None:
    assert document(ask(), root_path="/p")["servers"] == [{"url": "/p"}]


def test_words_of_3_0() -> None:
    converted = as_3_0(document(ask(), get("/v1/models", query=Filter)))
    assert converted["openapi"] == "3.0.3"
    attachments = converted["components"]["schemas"]["Question"]["properties"]["attachments"]
    assert attachments["type"] == "array"
    assert attachments["nullable"] is True
    assert '"null"' not in str(converted).replace("'", '"').replace('"nullable"', "")
    size = converted["components"]["schemas"]["Attachment"]["properties"]["size"]
    assert (size["minimum"], size["exclusiveMinimum"]) == (0, True)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ({"const": "a"}, {"enum": ["a"]}),
        ({"examples": ["a", "b"]}, {"example": "a"}),
        ({"prefixItems": [{"type": "string"}]}, {"items": {"anyOf": [{"type": "string"}]}}),
        ({"anyOf": [{"$ref": "#/a"}, {"type": "null"}]}, {"allOf": [{"$ref": "#/a"}], "nullable": True}),
        (
            {"anyOf": [{"a": 1}, {"b": 1}, {"type": "null"}]},
            {"anyOf": [{"a": 1}, {"b": 1}], "nullable": True},
        ),
        ({"exclusiveMaximum": 5}, {"maximum": 5, "exclusiveMaximum": True}),
        ({"properties": {"examples": {"const": 1}}}, {"properties": {"examples": {"enum": [1]}}}),
    ],
)
def test_each_word_of_3_0(new: dict[str, Any], old: dict[str, Any]) -> None:
    assert as_3_0({"x": new})["x"] == old


def test_how_credentials_are_given() -> None:
    assert credentials_scheme(None) == {}
    bearer = document(ask(), security_schemes=credentials_scheme("authorization"))
    assert bearer["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    header = document(ask(), security_schemes=credentials_scheme("x-rh-identity"))
    scheme = {"type": "apiKey", "in": "header", "name": "x-rh-identity"}
    assert header["components"]["securitySchemes"] == {"x-rh-identity": scheme}


def test_the_action_that_a_caller_needs() -> None:
    built = document(ask(description="One answer."), get("/public"))
    assert built["paths"]["/v1/query"]["post"]["description"] == "One answer. Needs the action `query`."
    assert "description" not in built["paths"]["/public"]["get"]
