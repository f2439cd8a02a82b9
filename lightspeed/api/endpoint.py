"""What every route declares. Routes and the OpenAPI document are both made from the declarations."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import Any, Generic, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypeVar

from lightspeed.api.json_codec import encode_model
from lightspeed.errors import Forbidden, RequestError
from lightspeed.identity.access import Authorize
from lightspeed.identity.actions import Action
from lightspeed.identity.principal import Principal

BodyT = TypeVar("BodyT", default=None)
QueryT = TypeVar("QueryT", default=None)
ServicesT = TypeVar("ServicesT", default=Any)


class Access(Enum):
    """Who may call an endpoint that no action guards."""

    PUBLIC = "public"
    AUTHENTICATED = "authenticated"


@dataclass(frozen=True, slots=True)
class Call(Generic[BodyT, QueryT, ServicesT]):
    """One request that has passed all gates, as a handler receives it.

    `body` and `query` are instances of the declared models, or None where none is declared.
    """

    request: Request
    services: ServicesT
    request_id: str
    caller: Principal | None
    authorize: Authorize
    body: BodyT
    query: QueryT

    @property
    def principal(self) -> Principal:
        """Who asks. Raises RuntimeError on a public endpoint, where nobody was asked."""
        if self.caller is None:
            raise RuntimeError("A public endpoint has no principal")
        return self.caller

    def permits(self, action: Action) -> bool:
        """Whether the caller may do something beyond the endpoint's own action."""
        try:
            self.authorize(self.principal, action)
        except Forbidden:
            return False
        return True

    @property
    def path(self) -> Mapping[str, str]:
        """The parameters in the path, by name."""
        return self.request.path_params


type Handler = Callable[[Call[Any, Any, Any]], Awaitable[Response | BaseModel]]
type Precondition = Callable[[Call[None, None, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Endpoint:
    """One method on one path.

    `action` guards it: an Action, or Access.AUTHENTICATED, or Access.PUBLIC.
    `request`, `query` and `response` are the models of the JSON body, the query string and the answer;
    without `request` the body is not read, and the handler may read it from `call.request`.
    `reads` describes a body that the handler reads by itself; its media type is `request_media_type`, too.
    `precondition` runs after authentication and before the body's form is checked.
    `max_body` overrides the limit of the service, in bytes.
    `errors` are documented; those of the gates are documented without being named.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    handler: Handler
    _: KW_ONLY
    action: Action | Access
    tags: tuple[str, ...]
    summary: str
    description: str = ""
    request: type[BaseModel] | None = None
    reads: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    response: type[BaseModel] | None = None
    status: int = 200
    media_types: tuple[str, ...] = ("application/json",)
    request_media_type: str = "application/json"
    errors: tuple[type[RequestError], ...] = ()
    precondition: Precondition | None = None
    max_body: int | None = None
    exclude_none: bool = False
    operation_id: str = ""


def model_response(
    model: BaseModel,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    exclude_none: bool = False,
) -> Response:
    """A JSON answer, for a handler that sets headers or a status of its own."""
    content = encode_model(model, exclude_none=exclude_none)
    return Response(content, status, headers, media_type="application/json")


def by_path(endpoints: Iterable[Endpoint]) -> dict[str, dict[str, Endpoint]]:
    """Endpoints by path and method. Paths without parameters come first, so that none is shadowed.

    Raises ValueError if two endpoints share path and method.
    """
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in sorted(endpoints, key=lambda endpoint: "{" in endpoint.path):
        methods = paths.setdefault(endpoint.path, {})
        if endpoint.method in methods:
            raise ValueError(f"{endpoint.method} {endpoint.path} is declared twice")
        methods[endpoint.method] = endpoint
    return paths
