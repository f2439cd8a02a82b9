"""The sections `mcp_servers` and `approvals`: tools of other servers."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from lightspeed.configuration.fields import PositiveInt, Text, WebAddress
from lightspeed.configuration.section import KeyPath, Section, repeated

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FROM_CALLER = frozenset({"kubernetes", "client", "oauth"})
"""Values of an authorization header that are not the path of a file."""


class ApprovalFilter(Section):
    """Tools by name that a person approves before each call, and tools that need no approval."""

    always: tuple[str, ...] = Field((), description="Tools that need approval.")
    never: tuple[str, ...] = Field((), description="Tools that need none.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if set(self.always) & set(self.never):
            yield ("never",), "names a tool that `always` names too"


def _approval_kind(value: Any) -> str:
    return "filter" if isinstance(value, dict | ApprovalFilter) else "word"


Approval = Annotated[
    Annotated[Literal["always", "never"], Tag("word")] | Annotated[ApprovalFilter, Tag("filter")],
    Discriminator(_approval_kind),
]


class ModelContextProtocolServer(Section):
    """One MCP server.

    The value of an authorization header is the path of a file that holds it, or one of the words
    `kubernetes` (the caller's token), `client` or `oauth` (the caller sends it in `MCP-HEADERS`).
    """

    name: Text = Field(description="Unique name, also the tool group's.")
    provider_id: str = Field("model-context-protocol", description="The stack's provider of MCP tools.")
    url: WebAddress = Field(description="Address of the server.")
    authorization_headers: dict[Text, Text] = Field(
        {}, description="Header name to secret file, `kubernetes`, `client` or `oauth`."
    )
    headers: tuple[str, ...] = Field((), description="Headers of the request that are passed on.")
    require_approval: Approval = Field("never", description="Calls that a person must approve.")
    timeout: PositiveInt | None = Field(None, description="Longest call, seconds; 30 where it is not given.")
    max_result_characters: PositiveInt = Field(
        100_000, description="Longest text of a tool's result, characters; the rest is cut."
    )
    tool_list_seconds: PositiveInt = Field(
        300, description="How long a list of tools is used before it is asked for again, seconds."
    )

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        for position, header in enumerate(self.headers):
            if not header.strip():
                yield ("headers", position), "must not be blank"
            elif not _HEADER.fullmatch(header.strip()):
                yield ("headers", position), "is not the name of a header"
        for position in repeated([header.strip().lower() for header in self.headers]):
            if self.headers[position].strip():
                yield ("headers", position), "is given twice; upper and lower case are the same"
        names = list(self.authorization_headers)
        for name in names:
            if not _HEADER.fullmatch(name.strip()):
                yield ("authorization_headers", name), "is not the name of a header"
        for position in repeated([name.strip().lower() for name in names]):
            path = ("authorization_headers", names[position])
            yield path, "is given twice; upper and lower case are the same"


class ApprovalsConfiguration(Section):
    """Tool calls that wait for a person."""

    approval_timeout_seconds: PositiveInt = Field(300, description="Longest wait for an answer, seconds.")
    approval_retention_days: PositiveInt = Field(30, description="How long decisions are kept, days.")
