"""Asks Microsoft Entra ID for a token: OAuth 2.0's client credentials, as the Microsoft identity platform has them."""

import re
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from anyio import to_thread
from pydantic_core import from_json

from lightspeed.configuration.azure import AzureEntraIdConfiguration
from lightspeed.errors import ProviderUnavailable

if TYPE_CHECKING:
    from aiohttp import ClientSession

_ANSWERS_WITHIN = 10.0  # seconds
_CONNECTS_WITHIN = 5.0  # seconds
_LONGEST_ANSWER = 262_144  # bytes
_TRY_AGAIN_AFTER = "5"  # seconds
# Entra ID's own number of an error says what is wrong; the sentences beside it name tenant and application.
_NUMBER = re.compile(r"\bAADSTS\d{3,10}\b")
_TOKEN = re.compile(r"[!-~]+")
_NAME = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, and how many seconds it may be used."""

    token: str = field(repr=False)
    lifetime: float


class AzureAuthority:
    """The token endpoint of one tenant. Used in one event loop, until `close`."""

    def __init__(self, configuration: AzureEntraIdConfiguration) -> None:
        tenant = quote(configuration.tenant_id.get_secret_value(), safe="")
        self._address = f"{configuration.authority.rstrip('/')}/{tenant}/oauth2/v2.0/token"
        self._form = {
            "grant_type": "client_credentials",
            "client_id": configuration.client_id.get_secret_value(),
            "client_secret": configuration.client_secret.get_secret_value(),
            "scope": configuration.scope,
        }
        self._session: ClientSession | None = None

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def grant(self) -> Grant:
        """Raises ProviderUnavailable; its cause holds neither a secret nor the names of tenant and application."""
        session = await self._opened()
        # Imported when the session was made.
        from aiohttp import ClientError

        try:
            async with session.post(self._address, data=self._form, allow_redirects=False) as response:
                content = await response.content.read(_LONGEST_ANSWER)
                status, wait = response.status, response.headers.get("Retry-After", _TRY_AGAIN_AFTER)
        except TimeoutError:
            raise _unavailable("it does not answer in time") from None
        except (ClientError, OSError) as error:
            raise _unavailable("it cannot be reached") from error
        return _read(status, content, wait if wait.isdecimal() else _TRY_AGAIN_AFTER)

    async def _opened(self) -> "ClientSession":
        if self._session is None:
            # In a thread, because it reads certificates and code.
            context = await to_thread.run_sync(_tls_context)
            from aiohttp import ClientSession, ClientTimeout, TCPConnector

            if self._session is None:
                # httpx would write the address, which names the tenant, into the log.
                self._session = ClientSession(
                    connector=TCPConnector(ssl=context),
                    timeout=ClientTimeout(total=_ANSWERS_WITHIN, sock_connect=_CONNECTS_WITHIN),
                    trust_env=True,
                )
        return self._session


def _tls_context() -> Any:
    import_module("aiohttp")
    from httpx import create_ssl_context

    return create_ssl_context()


def _read(status: int, content: bytes, wait: str) -> Grant:
    try:
        body = from_json(content)
    except ValueError:
        body = None
    told = body if isinstance(body, dict) else {}
    if status != 200:
        raise _unavailable(f"it refuses a token (status {status}{_reason(told)})", wait)
    token, lifetime = told.get("access_token"), told.get("expires_in")
    try:
        seconds = float(lifetime)  # type: ignore[arg-type]  # some send it as text
    except (TypeError, ValueError):
        seconds = 0.0
    # Not a number is neither greater nor less.
    if not isinstance(token, str) or not _TOKEN.fullmatch(token) or not 0 < seconds < float("inf"):
        raise _unavailable("its answer holds no usable token")
    return Grant(token, seconds)


def _reason(told: dict[str, Any]) -> str:
    name, description = told.get("error"), told.get("error_description")
    parts = [name] if isinstance(name, str) and _NAME.fullmatch(name) else []
    if isinstance(description, str) and (number := _NUMBER.search(description)):
        parts.append(number.group())
    return "".join(f", {part}" for part in parts)


def _unavailable(reason: str, wait: str = _TRY_AGAIN_AFTER) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"No token for Azure from Microsoft Entra ID: {reason}.", headers={"Retry-After": wait}
    )
