"""The OpenAPI 3.1 document, made from the declared endpoints."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from openapi_pydantic import (
    Components,
    DataType,
    Info,
    MediaType,
    OpenAPI,
    Operation,
    Parameter,
    ParameterLocation,
    PathItem,
    Reference,
    RequestBody,
    Response,
    Schema,
    SecurityScheme,
    Tag,
)
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from lightspeed.api.endpoint import Access, Endpoint, by_path
from lightspeed.errors import Forbidden, InternalError, RequestError, TooLarge, Unauthorized, Unavailable

REF = "#/components/schemas/{model}"
JSON = "application/json"

_NAMES = {
    400: "BadRequestResponse",
    401: "UnauthorizedResponse",
    403: "ForbiddenResponse",
    404: "NotFoundResponse",
    409: "ConflictResponse",
    413: "TooLargeResponse",
    422: "UnprocessableEntityResponse",
    429: "QuotaExceededResponse",
    500: "InternalServerErrorResponse",
    502: "ModelRefusedResponse",
    503: "ServiceUnavailableResponse",
}

_VALIDATION_ERROR = {
    "title": "ValidationError",
    "type": "object",
    "required": ["type", "loc", "msg"],
    "properties": {
        "type": {"type": "string"},
        "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
        "msg": {"type": "string"},
        "input": {},
        "ctx": {"type": "object"},
    },
}
_DETAIL = {
    "title": "DetailModel",
    "type": "object",
    "required": ["response", "cause"],
    "properties": {"response": {"type": "string"}, "cause": {"type": "string"}},
}


def openapi_document(
    endpoints: Iterable[Endpoint],
    *,
    title: str,
    version: str,
    description: str = "",
    root_path: str = "",
    security_schemes: Mapping[str, SecurityScheme] | None = None,
) -> dict[str, Any]:
    """The document as plain values. Takes a few hundred milliseconds, so call it in a thread.

    Endpoints that are not public ask for any one of `security_schemes`. Raises ValueError if two
    endpoints have the same operation id.
    """
    paths = by_path(endpoints)
    declared = [endpoint for methods in paths.values() for endpoint in methods.values()]
    _check_operation_ids(declared)
    security: list[dict[str, list[str]]] = [{name: []} for name in security_schemes or {}]
    builder = _Builder(declared, security)
    items = {path: builder.path_item(methods) for path, methods in paths.items()}
    document = OpenAPI(
        info=Info(title=title, version=version, description=description or None),
        paths={_template(path): item for path, item in items.items()},
        tags=[Tag(name=name) for name in sorted({tag for endpoint in declared for tag in endpoint.tags})],
        components=Components(securitySchemes=dict(security_schemes or {}) or None),
    )
    plain: dict[str, Any] = document.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    plain |= {"openapi": document.openapi, "servers": [{"url": root_path or "/"}]}
    plain.setdefault("components", {})["schemas"] = dict(sorted(builder.schemas.items()))
    return plain


def credentials_scheme(header: str | None) -> dict[str, SecurityScheme]:
    """How credentials in this header are given to the endpoints; without a header there are none."""
    if header is None:
        return {}
    if header == "authorization":
        return {"bearer": SecurityScheme(type="http", scheme="bearer")}
    return {header: SecurityScheme.model_validate({"type": "apiKey", "in": "header", "name": header})}


def operation_id(endpoint: Endpoint) -> str:
    """Path and method, unless the endpoint names its own; it does not change with the code."""
    if endpoint.operation_id:
        return endpoint.operation_id
    return re.sub(r"\W+", "_", f"{endpoint.method.lower()}{_template(endpoint.path)}").rstrip("_")


def _template(path: str) -> str:
    """The path without Starlette's convertors: `{id:path}` is `{id}`."""
    return re.sub(r":\w+}", "}", path)


def _check_operation_ids(endpoints: Sequence[Endpoint]) -> None:
    seen: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        other = seen.setdefault(operation_id(endpoint), endpoint)
        if other is not endpoint:
            raise ValueError(f"{endpoint.path} and {other.path} have the same operation id")


class _Builder:
    def __init__(self, endpoints: Sequence[Endpoint], security: list[dict[str, list[str]]]) -> None:
        self._security = security
        used: list[tuple[type[BaseModel], JsonSchemaMode]] = []
        for endpoint in endpoints:
            if body := endpoint.request or endpoint.reads:
                used.append((body, "validation"))
            if endpoint.response:
                used.append((endpoint.response, "serialization"))
        self._refs, schema = models_json_schema(list(dict.fromkeys(used)), ref_template=REF)
        self.schemas: dict[str, Any] = schema.get("$defs", {})

    def path_item(self, methods: Mapping[str, Endpoint]) -> PathItem:
        operations = {method.lower(): self._operation(endpoint) for method, endpoint in methods.items()}
        return PathItem.model_validate(operations)

    def _operation(self, endpoint: Endpoint) -> Operation:
        public = endpoint.action is Access.PUBLIC
        return Operation(
            tags=list(endpoint.tags),
            summary=endpoint.summary,
            description=_description(endpoint),
            operationId=operation_id(endpoint),
            parameters=[*_path_parameters(endpoint), *self._query_parameters(endpoint)] or None,
            requestBody=self._request_body(endpoint),
            responses={str(endpoint.status): self._success(endpoint), **self._failures(endpoint)},
            security=self._security if self._security and not public else None,
        )

    def _query_parameters(self, endpoint: Endpoint) -> list[Parameter]:
        if endpoint.query is None:
            return []
        schema = endpoint.query.model_json_schema(ref_template=REF)
        self.schemas |= schema.get("$defs", {})
        required = schema.get("required", ())
        return [
            _parameter(name, ParameterLocation.QUERY, name in required, property_)
            for name, property_ in schema.get("properties", {}).items()
        ]

    def _request_body(self, endpoint: Endpoint) -> RequestBody | None:
        body = endpoint.request or endpoint.reads
        if body is None:
            return None
        media = MediaType(schema=self._reference(body, "validation"))
        return RequestBody(content={endpoint.request_media_type: media}, required=True)

    def _success(self, endpoint: Endpoint) -> Response:
        content = {}
        for media_type in endpoint.media_types:
            if media_type != JSON:
                content[media_type] = MediaType(schema=Schema(type=DataType.STRING))
            elif endpoint.response is not None:
                content[media_type] = MediaType(schema=self._reference(endpoint.response, "serialization"))
            else:
                content[media_type] = MediaType(schema=Schema())
        return Response(description=HTTPStatus(endpoint.status).phrase, content=content)

    def _failures(self, endpoint: Endpoint) -> dict[str, Response | Reference]:
        by_status: dict[int, list[type[RequestError]]] = {}
        for error in dict.fromkeys((*_gate_errors(endpoint), *endpoint.errors)):
            by_status.setdefault(error.status, []).append(error)
        responses: dict[str, Response | Reference] = {}
        checked = endpoint.request is not None or endpoint.query is not None
        for status in sorted({*by_status, *([422] if checked else [])}):
            errors = by_status.get(status, [])
            names = [self._error_schema(status)] if errors else []
            if status == 422 and checked:
                names.append(self._validation_schema())
            references = [_reference(REF.format(model=name)) for name in names]
            schema = references[0] if len(references) == 1 else Schema(anyOf=references)
            reasons = dict.fromkeys(error.default_response for error in errors)
            responses[str(status)] = Response(
                description="; ".join(reasons) or HTTPStatus(status).phrase,
                content={JSON: MediaType(schema=schema)},
            )
        return responses

    def _reference(self, model: type[BaseModel], mode: JsonSchemaMode) -> Reference:
        return _reference(self._refs[model, mode]["$ref"])

    def _error_schema(self, status: int) -> str:
        name = _NAMES.get(status) or f"Error{status}Response"
        self.schemas["DetailModel"] = _DETAIL
        self.schemas[name] = _object(name, {"$ref": REF.format(model="DetailModel")})
        return name

    def _validation_schema(self) -> str:
        name = "HTTPValidationError"
        items = {"$ref": REF.format(model="ValidationError")}
        self.schemas["ValidationError"] = _VALIDATION_ERROR
        self.schemas[name] = _object(name, {"type": "array", "items": items})
        return name


def _gate_errors(endpoint: Endpoint) -> list[type[RequestError]]:
    errors: list[type[RequestError]] = [InternalError]
    if endpoint.action is not Access.PUBLIC:
        errors += [Unauthorized, Forbidden, Unavailable]
    if endpoint.method in {"POST", "PUT", "PATCH"} and endpoint.request is not None:
        errors.append(TooLarge)
    return errors


def _description(endpoint: Endpoint) -> str | None:
    needs = "" if isinstance(endpoint.action, Access) else f"Needs the action `{endpoint.action}`."
    return " ".join(part for part in (endpoint.description, needs) if part) or None


def _path_parameters(endpoint: Endpoint) -> list[Parameter]:
    names = re.findall(r"{(\w+)", endpoint.path)
    return [_parameter(name, ParameterLocation.PATH, True, {"type": "string"}) for name in names]


def _parameter(name: str, location: ParameterLocation, required: bool, schema: dict[str, Any]) -> Parameter:
    description = schema.pop("description", None)
    return Parameter.model_validate(
        {"name": name, "in": location, "required": required, "description": description, "schema": schema}
    )


def _reference(target: str) -> Reference:
    return Reference.model_validate({"$ref": target})


def _object(title: str, detail: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "type": "object", "required": ["detail"], "properties": {"detail": detail}}
