"""A small application made of declared endpoints, for the tests of the layer itself."""

from collections.abc import Callable, Iterable
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.applications import Starlette
from starlette.requests import Request

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.errors import exception_handlers
from lightspeed.api.gates import Gates
from lightspeed.api.middleware import middleware
from lightspeed.api.routing import routes
from lightspeed.errors import Forbidden, Unauthorized
from lightspeed.identity.actions import Action
from lightspeed.identity.principal import Principal
from lightspeed.telemetry.metrics import Metrics


class Attachment(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: str
    size: int = Field(default=1, gt=0)


class Question(BaseModel):
    """What a client asks."""

    model_config = ConfigDict(extra="forbid")

    query: str
    count: int = 1
    attachments: list[Attachment] | None = None
    anything: dict[str, Any] = {}

    @field_validator("query")
    @classmethod
    def not_forbidden(cls, value: str) -> str:
        if value == "forbidden":
            raise ValueError("this question is forbidden")
        return value


class Answer(BaseModel):
    response: str
    remark: str | None = None


class Filter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model_type: str | None = None
    limit: int = 10
    tag: list[str] = []


async def answer(call: Call[Question]) -> Answer:
    return Answer(response=call.body.query)


def ask(handler: Any = answer, **changes: Any) -> Endpoint:
    declared: dict[str, Any] = {
        "action": Action.QUERY,
        "tags": ("query",),
        "summary": "Answer a question",
        "request": Question,
        "response": Answer,
    }
    return Endpoint("POST", "/v1/query", handler, **(declared | changes))


class NamedUsers:
    """`Authorization: <user>`; nobody without it."""

    credentials: str | None = "authorization"

    async def __call__(self, request: Request) -> Principal:
        user = request.headers.get("authorization")
        if user is None:
            raise Unauthorized("No Authorization header found", headers={"WWW-Authenticate": "Bearer"})
        return Principal(user, user, token="t0ken")

    async def close(self) -> None:
        pass


authenticate = NamedUsers()


def authorize(principal: Principal, action: Action) -> None:
    if principal.user_id == "guest":
        raise Forbidden(f"User {principal.user_id} is not authorized to access this endpoint.")


def application(
    endpoints: Iterable[Endpoint],
    *,
    max_body: int = 1_000_000,
    metrics: Metrics | None = None,
    services: Callable[[Request], Any] = lambda request: "the services",
    **layers: Any,
) -> Starlette:
    gates = Gates(authenticate, authorize, services, max_body)
    return Starlette(
        routes=routes(endpoints, gates),
        exception_handlers=exception_handlers(),
        middleware=middleware(metrics or Metrics(), **layers),
    )


def client(app: Any, user: str | None = "alice") -> httpx.AsyncClient:
    headers = {"Authorization": user} if user else {}
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers)
