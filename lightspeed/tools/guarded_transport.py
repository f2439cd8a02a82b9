"""HTTP to servers whose addresses come from users."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import anyio
import httpx

from lightspeed.tools.address_policy import AddressPolicy, AddressRefused

_MOST_ATTEMPTS = 4
_LIMITS = httpx.Limits(max_connections=50, max_keepalive_connections=5, keepalive_expiry=60)


class GuardedTransport(httpx.AsyncBaseTransport):
    """A transport that connects to allowed addresses only.

    For each request the host is resolved once, all its addresses are checked, and the connection goes to a checked
    one, with the host's name in the TLS handshake and in the header `Host`; so a name that leads elsewhere a moment
    later gains nothing. Redirects are not followed, and an answer that is one fails, so that no client follows it.
    Proxies of the environment are not used: they would resolve the name again.

    Raises ConnectError for an address that is refused or a host that is unknown, TooManyRedirects for a redirect,
    and else what httpx raises. Used in one event loop; `aclose` ends it.
    """

    def __init__(self, policy: AddressPolicy, certificates: ssl.SSLContext) -> None:
        self._policy = policy
        self._certificates = certificates
        # By the name in the handshake: one connection must not serve two names at the same address.
        self._pools: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        addresses = await self._addresses(request)
        response = await self._response(request, addresses)
        if response.has_redirect_location:
            await response.aclose()
            raise httpx.TooManyRedirects("The server redirects, which is not followed.", request=request)
        return response

    async def aclose(self) -> None:
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.aclose()

    async def _addresses(self, request: httpx.Request) -> list[str]:
        timeouts: Mapping[str, Any] = request.extensions.get("timeout", {})
        try:
            with anyio.fail_after(timeouts.get("connect")):
                addresses = await self._policy.addresses(request.url)
        except TimeoutError:
            raise httpx.ConnectTimeout("The host's name is not resolved in time.", request=request) from None
        except AddressRefused as error:
            raise httpx.ConnectError(f"The address {error}.", request=request) from None
        except OSError:
            raise httpx.ConnectError("The host is unknown.", request=request) from None
        if not addresses:
            raise httpx.ConnectError("The host has no address.", request=request)
        return addresses

    async def _response(self, request: httpx.Request, addresses: list[str]) -> httpx.Response:
        """The answer of the first machine behind a name that can be reached; no body is sent before."""
        pool = self._pool(request.url.host)
        failure: httpx.TransportError | None = None
        for pinned in _pinned(request, addresses[:_MOST_ATTEMPTS]):
            try:
                return await pool.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = failure or error
        assert failure is not None
        raise failure

    def _pool(self, name: str) -> httpx.AsyncHTTPTransport:
        if name not in self._pools:
            self._pools[name] = httpx.AsyncHTTPTransport(
                verify=self._certificates, trust_env=False, limits=_LIMITS
            )
        return self._pools[name]


def guarded_transports(policy: AddressPolicy) -> Callable[[], GuardedTransport]:
    """Makes transports, each for one client, that share the certificates. The first one blocks: it reads them."""
    certificates = cache(_certificates)
    return lambda: GuardedTransport(policy, certificates())


def _pinned(request: httpx.Request, addresses: list[str]) -> Iterator[httpx.Request]:
    """The same request to each of the addresses."""
    url = request.url
    headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
    host = url.raw_host.decode("ascii").strip("[]")
    for address in addresses:
        yield httpx.Request(
            request.method,
            url.copy_with(host=address),
            headers=[(b"Host", url.netloc), *headers],
            stream=request.stream,
            extensions=request.extensions | {"sni_hostname": host},
        )


def _certificates() -> ssl.SSLContext:
    certificates = httpx.create_ssl_context()
    certificates.load_default_certs()  # those of the machine, too
    return certificates
