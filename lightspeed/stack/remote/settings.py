"""Which server is spoken to, and how patiently."""

from dataclasses import dataclass, field
from typing import Self

import httpx

from lightspeed.configuration.llama_stack import LlamaStackConfiguration


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`address` is where `/v1` begins, without a trailing slash; times are in seconds.

    `attempts` are made at the start, `retry_delay` apart. `may_be_away` lets the service start without the server.
    """

    address: str = field(repr=False)
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 180.0
    attempts: int = 5
    retry_delay: float = 2.0
    may_be_away: bool = False

    @classmethod
    def read(cls, configuration: LlamaStackConfiguration) -> Self:
        """The section `llama_stack`, whose `url` is given."""
        key = configuration.api_key
        return cls(
            address=str(configuration.url).rstrip("/"),
            api_key=key.get_secret_value() if key is not None else None,
            timeout=float(configuration.timeout),
            attempts=configuration.max_retries,
            retry_delay=float(configuration.retry_delay),
            may_be_away=bool(configuration.allow_degraded_mode),
        )

    @property
    def shown_address(self) -> str:
        """The address for logs and errors: without a password that it may hold."""
        return str(httpx.URL(self.address).copy_with(userinfo=b"", query=None))
