"""Addresses that users may give, and those that they may not."""

from collections.abc import Iterator

import httpx
import pytest

from lightspeed.configuration.mcp_registration import McpRegistrationConfiguration
from lightspeed.tools.address_policy import AddressPolicy, AddressRefused, registration_policy

pytestmark = pytest.mark.anyio


def refused(policy: AddressPolicy, address: str) -> str:
    with pytest.raises(AddressRefused) as caught:
        policy.url(address)
    return str(caught.value)


async def resolved(policy: AddressPolicy, address: str) -> list[str]:
    return await policy.addresses(policy.url(address))


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("http://good@169.254.169.254/", "user name"),
        ("https://good.example:secret@evil.example/", "user name"),
        ("http://good.example\\@169.254.169.254/", "user name"),
        ("http://[fe80::1%25eth0]/", "%"),
        ("http://[fe80::1%eth0]/", "%"),
        ("http://%31%32%37.0.0.1/", "%"),
        ("http://good.example%00.evil.example/", "%"),
        ("http://good.example:0/", "port"),
        ("http://good.example:65536/", "port"),
        ("http://good.example:port/", "not a web address"),
        ("http://good.example\r\nHost: evil/", "not a web address"),
        ("http://[::1", "not a web address"),
        ("http://\uff11\uff12\uff17.0.0.1/", "not a web address"),
        ("http:///path", "with a host"),
        ("http://./", "with a host"),
        ("//good.example/", "http or https"),
        ("file:///etc/hostname", "http or https"),
        ("ftp://good.example/", "http or https"),
        ("http://localhost/", "this machine"),
        ("http://localhost./", "this machine"),
        ("http://LocalHost:8080/", "this machine"),
        ("http://anything.localhost/", "this machine"),
    ],
)
def test_some_addresses_are_refused_without_the_network(address: str, cause: str) -> None:
    message = refused(AddressPolicy(), address)
    assert cause in message
    assert "secret" not in message


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "127.1", "10.1.2.3", "192.168.0.1"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:a00:1]", "[64:ff9b::7f00:1]"),
        *("[2002:7f00:1::]", "[fc00::1]", "100.64.0.1", "198.18.0.1"),
    ],
)  # fmt: skip
async def test_private_addresses_need_the_setting_however_they_are_written(host: str) -> None:
    with pytest.raises(AddressRefused, match="allow_private"):
        await resolved(AddressPolicy(), f"http://{host}:8080/mcp")
    assert await resolved(AddressPolicy(allow_private=True), f"http://{host}:8080/mcp")


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]"),
        *("[fe80::1]", "[fd00:ec2::254]", "100.100.100.200", "0.0.0.0", "0", "[::]", "224.0.0.1", "[ff02::1]"),
    ],
)  # fmt: skip
async def test_metadata_and_the_like_are_never_allowed(host: str) -> None:
    named = host.strip("[]")
    for policy in (AddressPolicy(), AddressPolicy([named], allow_private=True)):
        with pytest.raises(AddressRefused, match="never connected") as caught:
            await resolved(policy, f"http://{host}/latest/meta-data")
        assert "254" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mcp.example.com", True),
        ("MCP.Example.com.", True),
        ("a.tools.example.com", True),
        ("b.a.tools.example.com", True),
        ("bücher.example", True),
        ("xn--bcher-kva.example", True),
        ("[2606:4700::1111]", True),
        ("tools.example.com", False),
        ("nottools.example.com", False),
        ("example.com", False),
        ("mcp.example.com.evil.org", False),
        ("evilmcp.example.com", False),
        ("[2606:4700::1112]", False),
    ],
)
def test_a_list_of_hosts(host: str, allowed: bool) -> None:
    policy = AddressPolicy(
        ["mcp.example.com", "*.Tools.example.com", "B\u00fccher.example", "2606:4700::1111"]
    )
    for address in (f"https://{host}/mcp", f"http://{host}:8443/"):
        if allowed:
            assert policy.url(address).scheme in address
        else:
            assert "allowed_hosts" in refused(policy, address)


async def test_one_bad_address_among_several_refuses_the_host() -> None:
    answers: Iterator[list[str]] = iter([["93.184.216.34", "10.0.0.1"], ["93.184.216.34", "2606:4700::1111"]])

    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("mcp.example.com", 443)
        return next(answers)

    policy = AddressPolicy(resolve=resolve)
    with pytest.raises(AddressRefused, match="private address") as caught:
        await resolved(policy, "https://mcp.example.com/")
    assert "10.0.0.1" not in str(caught.value)
    assert await resolved(policy, "https://mcp.example.com/") == ["93.184.216.34", "2606:4700::1111"]


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 64 + ".example"])
async def test_a_host_that_nobody_knows(host: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - its text is the system's
        await resolved(AddressPolicy(), f"http://{host}/")


def test_the_policy_of_a_configuration() -> None:
    settings = McpRegistrationConfiguration(allowed_hosts=("localhost", "[::1]"), allow_private=True)
    policy = registration_policy(settings)
    assert policy.url("http://localhost:1/") == httpx.URL("http://localhost:1/")
    assert policy.url("http://[::1]/").host == "::1"
    assert "allowed_hosts" in refused(policy, "http://127.0.0.1/")
    assert "this machine" in refused(registration_policy(McpRegistrationConfiguration()), "http://localhost/")
