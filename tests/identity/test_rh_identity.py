"""The module `rh-identity`."""

import base64
import json
from typing import Any

import pytest
from starlette.requests import Request

from lightspeed.configuration.authentication import RHIdentityConfiguration
from lightspeed.identity.principal import Principal
from lightspeed.identity.rh_identity import RHIdentityAuthentication
from tests.identity.asking import refusal, request

pytestmark = pytest.mark.anyio

USER = {"type": "User", "org_id": "o-1", "user": {"user_id": "u-1", "username": "ada"}}
SYSTEM = {"type": "System", "org_id": "o-1", "account_number": "a-1", "system": {"cn": "c-1"}}
ACCOUNT = {
    "type": "ServiceAccount",
    "org_id": "o-1",
    "service_account": {"client_id": "s-1", "username": "bot"},
}
INVALID = (400, "Bad request", "Invalid identity data")
HUGE = "9" * 5000


def module(*entitlements: str, **settings: Any) -> RHIdentityAuthentication:
    given = settings | ({"required_entitlements": entitlements} if entitlements else {})
    return RHIdentityAuthentication(RHIdentityConfiguration.model_validate(given))


def header(content: Any) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.b64encode(text).decode()


def asked(identity: Any, **others: Any) -> Request:
    return request(("x-rh-identity", header({"identity": identity} | others)))


def told(error: Any) -> tuple[int, str, str]:
    return (error.status, error.response, error.cause)


@pytest.mark.parametrize(
    ("identity", "principal"),
    [
        (USER, Principal("u-1", "ada", organization_id="o-1")),
        (USER | {"org_id": None}, Principal("u-1", "ada")),
        (USER | {"org_id": ""}, Principal("u-1", "ada")),
        ({key: USER[key] for key in ("type", "user")}, Principal("u-1", "ada")),
        (USER | {"system": {"cn": "c"}}, Principal("u-1", "ada", organization_id="o-1")),
        (SYSTEM, Principal("c-1", "a-1", organization_id="o-1", system_id="c-1")),
        (SYSTEM | {"account_number": None}, Principal("c-1", "c-1", organization_id="o-1", system_id="c-1")),
        (SYSTEM | {"account_number": ""}, Principal("c-1", "c-1", organization_id="o-1", system_id="c-1")),
        (ACCOUNT, Principal("s-1", "bot", organization_id="o-1")),
        (
            USER | {"user": {"user_id": "é" * 256, "username": "Ada L."}},
            Principal("é" * 256, "Ada L.", organization_id="o-1"),
        ),
    ],
)
async def test_who_asks(identity: dict[str, Any], principal: Principal) -> None:
    assert await module()(asked(identity)) == principal


@pytest.mark.parametrize("headers", [[], [("x-rh-identity", "")], [("authorization", "Bearer t")]])
async def test_no_header(headers: list[tuple[str, str]]) -> None:
    error = await refusal(module(), request(*headers))
    assert told(error) == (
        401,
        "Missing or invalid credentials provided by client",
        "Missing x-rh-identity header",
    )
    assert error.headers["WWW-Authenticate"]


async def test_the_longest_header() -> None:
    value = header({"identity": USER})
    assert await module(max_header_size=len(value))(request(("x-rh-identity", value)))
    error = await refusal(module(max_header_size=len(value) - 1), request(("x-rh-identity", value)))
    assert told(error) == (400, "Bad request", "x-rh-identity header exceeds maximum allowed size")
    error = await refusal(module(), request(("x-rh-identity", "!" * 8193)))
    assert error.cause == "x-rh-identity header exceeds maximum allowed size"


@pytest.mark.parametrize(
    "value",
    ["!", "abc", "a b=", "====", "é", "_-8=", header({}) + "\n ", header(b"\xff\xfe"), "\x00"],
)
async def test_what_is_not_base64_of_text(value: str) -> None:
    error = await refusal(module(), request(("x-rh-identity", value)))
    assert told(error) == (400, "Bad request", "Invalid base64 encoding in x-rh-identity header")


@pytest.mark.parametrize("text", [b" ", b"{", b"{'a': 1}", b"[" * 6000, b"identity", HUGE.encode()])
async def test_what_is_not_json(text: bytes) -> None:
    error = await refusal(module(), request(("x-rh-identity", header(text))))
    assert told(error) == (400, "Bad request", "Invalid JSON in x-rh-identity header")


@pytest.mark.parametrize("content", [None, 5, "text", [], [{"identity": USER}], {}, True, {"Identity": USER}])
async def test_what_holds_no_identity(content: Any) -> None:
    assert told(await refusal(module(), request(("x-rh-identity", header(content))))) == INVALID


BROKEN_TEXTS: list[Any] = [
    None,
    "",
    " \t",
    5,
    True,
    [],
    {},
    ["a"],
    "a" * 257,
    "a\nb",
    "a\x00",
    "\x7f",
    "\x85",
    "\ud800",
]


@pytest.mark.parametrize(
    "identity",
    [
        *(None, 5, "text", [], [USER], {}),
        *({"user": USER["user"]}, USER | {"type": None}, USER | {"type": "user"}, USER | {"type": "X509"}),
        *(USER | {"type": kind} for kind in ([], {}, 5, "", "System", "ServiceAccount")),
        *(USER | {"user": value} for value in (None, "ada", 5, [], {})),
        *(USER | {"user": {"user_id": value, "username": "ada"}} for value in BROKEN_TEXTS),
        *(USER | {"user": {"user_id": "u-1", "username": value}} for value in BROKEN_TEXTS),
        *(USER | {"org_id": value} for value in BROKEN_TEXTS[2:]),
        *(USER | {"org_id": value} for value in (0, False)),
        *(SYSTEM | {"system": value} for value in (None, "c-1", 5, [], {})),
        *(SYSTEM | {"system": {"cn": value}} for value in BROKEN_TEXTS),
        *(SYSTEM | {"org_id": value} for value in BROKEN_TEXTS),
        *(SYSTEM | {"account_number": value} for value in BROKEN_TEXTS[2:]),
        *(ACCOUNT | {"service_account": value} for value in (None, "bot", 5, [], {})),
        *(ACCOUNT | {"service_account": {"client_id": value, "username": "bot"}} for value in BROKEN_TEXTS),
        *(ACCOUNT | {"service_account": {"client_id": "s-1", "username": value}} for value in BROKEN_TEXTS),
    ],
)
async def test_an_identity_that_is_malformed(identity: Any) -> None:
    assert told(await refusal(module(), asked(identity))) == INVALID


async def test_two_headers() -> None:
    ada, bot = header({"identity": USER}), header({"identity": ACCOUNT})
    twice = request(("x-rh-identity", ada), ("x-rh-identity", bot))
    assert told(await refusal(module(), twice)) == INVALID


async def test_entitlements_that_are_there() -> None:
    entitled = {"rhel": {"is_entitled": True, "is_trial": False}, "ansible": {"is_entitled": True}, "x": None}
    principal = await module("rhel", "ansible")(asked(USER, entitlements=entitled))
    assert principal.user_id == "u-1"


@pytest.mark.parametrize("entitlements", [{}, {"rhel": {"is_entitled": False}}, None, 5])
async def test_no_entitlement_is_needed(entitlements: Any) -> None:
    assert (await module()(asked(USER, entitlements=entitlements))).user_id == "u-1"


@pytest.mark.parametrize(
    "entitlements",
    [
        None,
        {},
        {"ansible": {"is_entitled": True}},
        {"rhel": {"is_entitled": True}},
        *(
            {"rhel": {"is_entitled": value}, "ansible": {"is_entitled": True}}
            for value in (False, None, "true", "false", 1, 0, [True], {"a": True})
        ),
        {"rhel": {}, "ansible": {"is_entitled": True}},
        {"RHEL": {"is_entitled": True}, "ansible": {"is_entitled": True}},
    ],
)
async def test_an_entitlement_that_is_missing(entitlements: Any) -> None:
    error = await refusal(module("rhel", "ansible"), asked(USER, entitlements=entitlements))
    assert told(error) == (
        403,
        "User does not have permission to perform this action",
        "Insufficient entitlements",
    )


@pytest.mark.parametrize("entitlements", [5, "rhel", ["rhel"], {"rhel": None}, {"rhel": True}, {"rhel": []}])
async def test_entitlements_that_are_malformed(entitlements: Any) -> None:
    assert told(await refusal(module("rhel"), asked(USER, entitlements=entitlements))) == INVALID


async def test_the_identity_is_checked_before_the_entitlements() -> None:
    assert told(await refusal(module("rhel"), asked(USER | {"user": {}}))) == INVALID
