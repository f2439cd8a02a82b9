"""What a user must say to add an MCP server."""

import unicodedata
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lightspeed.configuration.fields import is_web_address
from lightspeed.tools.mcp.header_rules import may_be_sent

# Those that say who the caller is, or that proxies in front of the service are trusted for.
_OF_THE_CALLER = frozenset(
    (
        *("authorization", "cookie", "set-cookie", "x-rh-identity", "x-api-key", "api-key", "x-auth-token"),
        *("x-csrf-token", "x-xsrf-token", "x-real-ip", "forwarded", "x-amz-security-token"),
    )
)
_PREFIXES_OF_THE_CALLER = ("x-forwarded-", "x-remote-", "x-auth-request-", "x-goog-", "impersonate-")

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _plain_name(name: str) -> str:
    if "/" in name or "\\" in name or any(unicodedata.category(letter) in _INVISIBLE for letter in name):
        raise ValueError("a name must not hold '/', '\\' or control characters")
    if name != name.strip() or name in {".", ".."}:
        raise ValueError("a name must not be '.' or '..', nor begin or end with a space")
    return name


def _web_address(url: str) -> str:
    if not is_web_address(url):
        raise ValueError("a URL must start with http:// or https:// and name a host")
    return url


def _header(name: str) -> str:
    if not may_be_sent(name):
        raise ValueError(f"'{name}' is not the name of a header that can be set")
    return name


def _propagated_header(name: str) -> str:
    if name.lower() in _OF_THE_CALLER or name.lower().startswith(_PREFIXES_OF_THE_CALLER):
        raise ValueError(f"the header '{name}' may hold credentials and is not passed on")
    return name


HeaderName = Annotated[str, AfterValidator(_header)]
PropagatedHeader = Annotated[HeaderName, AfterValidator(_propagated_header)]
Source = Literal["kubernetes", "client", "oauth"]


class MCPServerRegistrationRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, AfterValidator(_plain_name)] = Field(
        min_length=1, max_length=256, examples=["tickets"]
    )
    url: Annotated[str, AfterValidator(_web_address)] = Field(
        max_length=2048, examples=["https://tickets.example.com/mcp"]
    )
    provider_id: Annotated[str, AfterValidator(_plain_name)] = Field(
        "model-context-protocol", min_length=1, max_length=256
    )
    authorization_headers: dict[HeaderName, Source] | None = Field(
        None,
        max_length=20,
        description="Name of a header to where its value comes from: `kubernetes` is the caller's token; `client` and"
        " `oauth` are in `MCP-HEADERS`.",
        examples=[{"Authorization": "client"}],
    )
    headers: list[PropagatedHeader] | None = Field(
        None, max_length=50, description="Headers of the request that are passed on."
    )
    timeout: int | None = Field(None, gt=0, le=86_400, strict=True, description="Longest call, seconds.")

    @model_validator(mode="after")
    def _names_each_header_once(self) -> Self:
        for names in (self.authorization_headers or (), self.headers or ()):
            if len({name.lower() for name in names}) < len(names):
                raise ValueError("a header is given twice; upper and lower case are the same")
        return self
