"""Why an MCP server did not do what it was asked."""

from typing import Literal

from lightspeed.errors import LightspeedError

Kind = Literal["unauthorized", "unreachable", "slow", "status", "garbled", "lost", "gone", "refused"]
"""
- `unauthorized`: status 401
- `unreachable`: no connection came about
- `slow`: no answer in time
- `status`: another status that is no success
- `garbled`: an answer that is not of the Model Context Protocol, or too large
- `lost`: the connection ended before the answer was complete
- `gone`: the connection had ended before anything was sent, or the server has forgotten it
- `refused`: an error of the protocol, in the server's own words
"""

# Answers of servers that do not speak streamable HTTP at this address, but perhaps SSE.
_NOT_SPOKEN = frozenset({400, 404, 405, 406, 410, 415, 422})


class McpFailure(LightspeedError):
    """One request to an MCP server has failed.

    `reason` is a phrase that follows the server's name and holds no secret. `challenge` is the WWW-Authenticate of
    a status 401, where there was one.
    """

    def __init__(self, kind: Kind, reason: str, *, status: int = 0, challenge: str = "") -> None:
        self.kind: Kind = kind
        self.reason = reason
        self.status = status
        self.challenge = challenge
        self.while_opening = False
        """Whether it happened before the connection was there, so that nothing was asked yet."""
        super().__init__(f"The MCP server {reason}.")

    @property
    def delivered(self) -> bool:
        """Whether the server may have carried the request out. Only what it never got is sent twice."""
        return not self.while_opening and self.kind not in {"unauthorized", "unreachable", "gone"}

    @property
    def perhaps_done(self) -> bool:
        """Whether a call may have had its effect although no answer came."""
        return self.delivered and self.kind in {"lost", "slow"}

    @property
    def of_the_server(self) -> bool:
        """Whether other callers would meet it too, whatever their credentials.

        A connection that was opened shows that the server is there: a list that takes too long may be one caller's own.
        """
        return self.kind == "unreachable" or (self.kind == "slow" and self.while_opening)

    @property
    def ends_connection(self) -> bool:
        """Whether nothing more is sent over the same connection."""
        return self.kind not in {"refused", "slow"}

    @property
    def perhaps_other_transport(self) -> bool:
        return self.status in _NOT_SPOKEN


def timed_out(seconds: float) -> McpFailure:
    return McpFailure("slow", f"did not answer within {seconds:g} s")
