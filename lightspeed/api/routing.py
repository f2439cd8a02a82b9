"""Routes made from declared endpoints: parse, authenticate, check the form, authorize, handle."""

from collections.abc import Iterable
from typing import Any, get_args, get_origin
from uuid import uuid4

from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from lightspeed.api.body import ABSENT, limited, read_json
from lightspeed.api.endpoint import Access, Call, Endpoint, by_path, model_response
from lightspeed.api.errors import SchemaError
from lightspeed.api.gates import Gates

ECHO_LIMIT = 64 * 1024


def routes(endpoints: Iterable[Endpoint], gates: Gates) -> list[Route]:
    """One route for each path; HEAD works wherever GET does."""
    return [Route(path, Resource(methods, gates)) for path, methods in by_path(endpoints).items()]


class Resource:
    """The ASGI application of one path."""

    def __init__(self, endpoints: dict[str, Endpoint], gates: Gates) -> None:
        self._operations = {method: _Operation(endpoint, gates) for method, endpoint in endpoints.items()}
        if "GET" in self._operations:
            self._operations["HEAD"] = self._operations["GET"]
        self._allow = ", ".join(sorted(self._operations))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = self._operations.get(scope["method"])
        if operation is None:
            raise HTTPException(405, headers={"Allow": self._allow})
        receive = limited(scope, receive, operation.max_body)
        response = await operation.respond(Request(scope, receive, send))
        await response(scope, receive, send)


class _Operation:
    def __init__(self, endpoint: Endpoint, gates: Gates) -> None:
        self._endpoint = endpoint
        self._gates = gates
        self._lists = _list_parameters(endpoint.query) if endpoint.query else frozenset()
        self.max_body = gates.max_body if endpoint.max_body is None else endpoint.max_body

    async def respond(self, request: Request) -> Response:
        endpoint, gates = self._endpoint, self._gates
        data = await read_json(request) if endpoint.request else None
        caller = await gates.caller(request, endpoint)
        services = gates.services(request)
        request_id = request.scope.get("request_id") or str(uuid4())
        if endpoint.precondition is not None:
            await endpoint.precondition(
                Call(request, services, request_id, caller, gates.authorize, None, None)
            )
        echo = endpoint.request is None or len(await request.body()) <= ECHO_LIMIT
        query, body = self._validated(request, data, echo)
        if caller is not None and not isinstance(endpoint.action, Access):
            gates.authorize(caller, endpoint.action)
        result = await endpoint.handler(
            Call(request, services, request_id, caller, gates.authorize, body, query)
        )
        if isinstance(result, BaseModel):
            return model_response(result, endpoint.status, exclude_none=endpoint.exclude_none)
        return result

    def _validated(self, request: Request, data: Any, echo: bool) -> tuple[Any, Any]:
        query: Any = None
        body: Any = None
        errors: list[Any] = []
        if self._endpoint.query is not None:
            try:
                query = _validate("query", self._endpoint.query, self._parameters(request.query_params))
            except SchemaError as error:
                errors += error.errors
        if self._endpoint.request is not None:
            try:
                body = _validate("body", self._endpoint.request, data, echo=echo)
            except SchemaError as error:
                errors += error.errors
        if errors:
            raise SchemaError(errors)
        return query, body

    def _parameters(self, given: QueryParams) -> dict[str, Any]:
        return {key: given.getlist(key) if key in self._lists else given[key] for key in given}


def _validate(source: str, model: type[BaseModel], data: Any, *, echo: bool = True) -> BaseModel:
    if data is ABSENT:
        raise SchemaError.missing(source)
    try:
        return model.model_validate(data, from_attributes=True)
    except ValidationError as error:
        raise SchemaError.from_pydantic(source, error, include_input=echo) from None


def _list_parameters(model: type[BaseModel]) -> frozenset[str]:
    names = set()
    for name, field in model.model_fields.items():
        if any(_is_list(choice) for choice in (field.annotation, *get_args(field.annotation))):
            names.add(field.alias or name)
    return frozenset(names)


def _is_list(annotation: Any) -> bool:
    return (get_origin(annotation) or annotation) in (list, set, tuple, frozenset)
