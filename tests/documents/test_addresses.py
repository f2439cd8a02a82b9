"""Addresses that pages are not read from."""

import pytest

from lightspeed.documents.addresses import addresses_of, normal_host, refusal


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"]
)
def test_public_addresses(address: str) -> None:
    assert refusal(address, allow_private=False) is None


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "100.64.0.1", "fc00::1"),
        *(
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "2002:7f00:1::",
            "64:ff9b::a00:1",
            "240.0.0.1",
            "198.18.0.1",
        ),
    ],
)
def test_private_addresses_need_the_option(address: str) -> None:
    assert "--allow-private" in (refusal(address, allow_private=False) or "")
    assert refusal(address, allow_private=True) is None


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.0.7", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "100.100.100.200"),
        *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "168.63.129.16"),
        *("0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:0.0.0.0"),
    ],
)
def test_other_addresses_are_never_read(address: str) -> None:
    assert refusal(address, allow_private=True)
    assert refusal(address, allow_private=False)


def test_the_name_of_the_permission() -> None:
    assert "`allow`" in (refusal("10.0.0.1", allow_private=False, permission="`allow`") or "")


@pytest.mark.parametrize(
    ("host", "normal"),
    [
        ("Docs.Example.COM.", "docs.example.com"),
        ("[::1]", "::1"),
        (" b\u00fccher.example ", "xn--bcher-kva.example"),
        ("..", ""),
    ],
)
def test_hosts_to_compare(host: str, normal: str) -> None:
    assert normal_host(host) == normal


@pytest.mark.anyio
async def test_every_spelling_of_an_address_comes_out_in_its_usual_form() -> None:
    for spelling in ("127.0.0.1", "2130706433", "0x7f000001", "127.1", "0177.0.0.1"):
        assert await addresses_of(spelling, 80) == ["127.0.0.1"]
    assert await addresses_of("::FFFF:7f00:1", 80) == ["::ffff:127.0.0.1"]


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 64, ""])
async def test_hosts_that_nobody_knows(host: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - its text is the system's
        await addresses_of(host, 80)
