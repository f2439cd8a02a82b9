"""Connections to servers of users: what reaches a real server on this machine, and what does not."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from anyio import to_thread

from lightspeed.tools.address_policy import AddressPolicy
from lightspeed.tools.guarded_transport import guarded_transports
from tests.storage.certificates import Authority
from tests.tools.local_site import LocalSite, Serve, sites

pytestmark = pytest.mark.anyio

NAME = "mcp.example.com"


@pytest.fixture
def serve() -> Iterator[Serve]:
    with sites() as serve:
        yield serve


@asynccontextmanager
async def guarded(policy: AddressPolicy) -> AsyncIterator[httpx.AsyncClient]:
    """A client that would follow redirects and use proxies, if it could."""
    transport = await to_thread.run_sync(guarded_transports(policy))
    async with httpx.AsyncClient(transport=transport, follow_redirects=True, timeout=5) as client:
        yield client


class Names:
    """Resolves every name to one list of addresses after the other; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def inside(*answers: list[str]) -> tuple[AddressPolicy, Names]:
    names = Names(*answers)
    return AddressPolicy([NAME], allow_private=True, resolve=names), names


async def refused(client: httpx.AsyncClient, url: str) -> str:
    with pytest.raises(httpx.ConnectError) as caught:
        await client.get(url)
    return str(caught.value)


async def test_a_request_goes_to_the_checked_address_under_the_name(serve: Serve) -> None:
    site = serve()
    policy, names = inside(["127.0.0.1"])

    async def body() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with guarded(policy) as client:
        headers = {"Host": "elsewhere.example", "Content-Length": "7"}
        answer = await client.post(f"http://{NAME}:{site.port}/mcp?a=b", content=body(), headers=headers)
    assert answer.status_code == 200
    assert names.asked == [NAME]
    assert site.asked == [("POST", "/mcp?a=b", f"{NAME}:{site.port}", b"one two")]


async def test_a_name_that_leads_elsewhere_later_gains_nothing(serve: Serve) -> None:
    site = serve()
    policy, names = inside(["127.0.0.1"], ["169.254.169.254"])
    async with guarded(policy) as client:
        assert (await client.get(f"http://{NAME}:{site.port}/")).status_code == 200
        # A connection that is kept open does not help either.
        assert "never connected to" in await refused(client, f"http://{NAME}:{site.port}/")
    assert len(names.asked) == 2
    assert len(site.asked) == 1


async def test_a_name_that_was_public_when_it_was_added(serve: Serve) -> None:
    site = serve()
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    policy = AddressPolicy(resolve=names)
    address = f"http://{NAME}:{site.port}/"
    assert await policy.addresses(policy.url(address)) == ["93.184.216.34"]
    async with guarded(policy) as client:
        assert "private address" in await refused(client, address)
    assert site.asked == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f000001", "127.1", "localhost", "[::ffff:127.0.0.1]"],
)
async def test_this_machine_is_not_reached_however_it_is_written(serve: Serve, host: str) -> None:
    site = serve()
    async with guarded(AddressPolicy()) as client:
        assert "allow_private" in await refused(client, f"http://{host}:{site.port}/")
    assert site.asked == []
    # They all lead there without the guard.
    async with guarded(AddressPolicy(allow_private=True)) as client:
        assert (await client.get(f"http://{host}:{site.port}/")).status_code == 200


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://good@127.0.0.1:{port}/", "user name"),
        ("http://[::1%25lo]:{port}/", "%"),
        ("http://other.example.com:{port}/", "allowed_hosts"),
        ("ftp://127.0.0.1:{port}/", "http or https"),
    ],
)
async def test_what_the_policy_refuses_is_not_asked_for(serve: Serve, url: str, cause: str) -> None:
    site = serve()
    policy = AddressPolicy(["127.0.0.1", "::1%lo"], allow_private=True)
    # The client itself refuses other schemes; the transport does not rely on that.
    request = httpx.Request("GET", url.replace("{port}", str(site.port)))
    transport = await to_thread.run_sync(guarded_transports(policy))
    with pytest.raises(httpx.ConnectError, match=cause):
        await transport.handle_async_request(request)
    await transport.aclose()
    assert site.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(serve: Serve, status: int) -> None:
    def redirects(site: LocalSite | None) -> dict[str, tuple[int, dict[str, str]]]:
        place = (
            "http://169.254.169.254/latest/meta-data" if site is None else f"http://127.0.0.1:{site.port}/"
        )
        return {"/": (status, {"Location": place})}

    target = serve()
    for site in (serve(redirects(None)), serve(redirects(target))):
        policy, names = inside(["127.0.0.1"])
        async with guarded(policy) as client:
            with pytest.raises(httpx.TooManyRedirects, match="not followed"):
                await client.get(f"http://{NAME}:{site.port}/")
        assert names.asked == [NAME]
    assert target.asked == []


async def test_the_next_address_is_tried_and_the_first_failure_told(serve: Serve) -> None:
    site = serve()
    policy, _ = inside(["127.0.0.2", "127.0.0.1"])
    async with guarded(policy) as client:
        await client.post(f"http://{NAME}:{site.port}/", content=b"body")
    assert [body for *_, body in site.asked] == [b"body"]
    policy, _ = inside(["127.0.0.2", "127.0.0.3"])
    async with guarded(policy) as client:
        assert await refused(client, f"http://{NAME}:{site.port}/")
    policy, _ = inside([])
    async with guarded(policy) as client:
        assert "no address" in await refused(client, f"http://{NAME}:{site.port}/")


async def test_unknown_hosts_and_names_that_are_not_resolved_in_time() -> None:
    async with guarded(AddressPolicy()) as client:
        assert "unknown" in await refused(client, "http://nowhere.invalid/")

    async def never(host: str, port: int) -> list[str]:
        await anyio.sleep_forever()
        return []

    async with guarded(AddressPolicy(resolve=never)) as client:
        with pytest.raises(httpx.ConnectTimeout, match="not resolved in time"):
            await client.get(f"http://{NAME}/", timeout=0.05)


async def test_proxies_of_the_environment_are_not_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    site, proxy = serve(), serve()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    policy, _ = inside(["127.0.0.1"])
    async with guarded(policy) as client:
        await client.get(f"http://{NAME}:{site.port}/")
    assert len(site.asked) == 1
    assert proxy.asked == []


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """A server's certificate for 127.0.0.1, of an authority that the service trusts."""

    def make() -> Path:
        authority = Authority.make("Test authority")
        (tmp_path / "server.pem").write_bytes(b"".join(authority.server("127.0.0.1")))
        (tmp_path / "authority.pem").write_bytes(authority.certificate)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        return tmp_path / "server.pem"

    return make


async def test_certificates_are_checked_against_the_name(
    serve: Serve, certificate: Callable[[], Path]
) -> None:
    site = serve(certificate=certificate())
    names = Names(["127.0.0.1"])
    policy = AddressPolicy(["127.0.0.1", NAME], allow_private=True, resolve=names)
    async with guarded(policy) as client:
        assert (await client.get(f"https://127.0.0.1:{site.port}/")).status_code == 200
        # The same machine under a name that is not in its certificate; the open connection is not used for it.
        assert "certificate" in (await refused(client, f"https://{NAME}:{site.port}/")).lower()
    assert len(site.asked) == 1
    assert site.names[-1] == NAME
