"""Headers that nobody thought of: an answer below 500 or a 503, and nobody is let in."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lightspeed.configuration.authentication import (
    APIKeyTokenConfiguration,
    JwkConfiguration,
    RHIdentityConfiguration,
)
from lightspeed.errors import BadRequest, Forbidden, RequestError, Unauthorized, Unavailable
from lightspeed.identity.api_key import ApiKeyAuthentication
from lightspeed.identity.authentication import Authentication
from lightspeed.identity.jwk_token import JwkTokenAuthentication
from lightspeed.identity.noop_with_token import UncheckedTokenAuthentication
from lightspeed.identity.rh_identity import RHIdentityAuthentication
from tests.identity.asking import request
from tests.identity.jwks_server import jwks_server
from tests.identity.signing import encoded, key_set, signing_key

modest = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
KEY, STRANGER = signing_key("ES256"), signing_key("ES256", 1)
RULE = {"jsonpath": "$..g[*]", "operator": "match", "value": "x", "negate": True, "roles": ["r"]}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
raw = st.binary(max_size=300)
words = st.sampled_from([b"Bearer ", b"bearer\t", b"Basic ", b"", b" ", b"\xa0"])


def mapping(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects in which each member is missing, anything, or what is expected there."""
    return st.fixed_dictionaries({}, optional={name: anything | value for name, value in members.items()})


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as running:
        yield running


@pytest.fixture(scope="module")
def tokens(portal: BlockingPortal) -> Iterator[JwkTokenAuthentication]:
    configuration = {"role_rules": [RULE]}
    with jwks_server(key_set(KEY.jwk(kid="k"))) as server:
        module = JwkTokenAuthentication(
            JwkConfiguration.model_validate({"url": server.url, "jwt_configuration": configuration})
        )
        yield module
        portal.call(module.close)


def refused(
    portal: BlockingPortal, authenticate: Authentication, *headers: tuple[str, bytes]
) -> RequestError:
    with pytest.raises(RequestError) as caught:
        portal.call(authenticate, request(*headers))
    assert type(caught.value) in {BadRequest, Unauthorized, Forbidden, Unavailable}
    return caught.value


@modest
@given(value=raw | st.tuples(words, raw).map(b"".join))
@example(b"Bearer k\xe9y")
def test_authorization(portal: BlockingPortal, tokens: JwkTokenAuthentication, value: bytes) -> None:
    keys = ApiKeyAuthentication(APIKeyTokenConfiguration.model_validate({"api_key": "a" * 400}))
    assert refused(portal, keys, ("authorization", value)).status == 401
    assert refused(portal, tokens, ("authorization", value)).status == 401
    try:
        principal = portal.call(UncheckedTokenAuthentication(), request(("authorization", value)))
    except Unauthorized:
        return
    # This module checks no token, but there must be one.
    assert value.split()[1:] == [principal.token.encode("ascii")]


header = mapping(
    alg=st.sampled_from(["ES256", "RS256", "HS256", "none"]),
    kid=st.sampled_from(["k", ""]),
    typ=st.just("JWT"),
    crit=st.just(["exp"]),
    b64=st.booleans(),
)
times = st.integers(-(10**320), 10**320) | st.floats()
claims = mapping(user_id=st.text(), username=st.text(), exp=times, nbf=times, iat=times, g=anything)


@modest
@given(header=header, claims=claims, signature=raw, tail=st.sampled_from([b"", b"=", b".", b"..", b".a.b"]))
def test_tokens_without_a_good_signature(
    portal: BlockingPortal,
    tokens: JwkTokenAuthentication,
    header: dict[str, Any],
    claims: dict[str, Any],
    signature: bytes,
    tail: bytes,
) -> None:
    token = f"{encoded(header)}.{encoded(claims)}.{encoded(signature)}".encode() + tail
    assert refused(portal, tokens, ("authorization", b"Bearer " + token)).status == 401


@modest
@given(claims=claims)
def test_tokens_of_a_stranger(
    portal: BlockingPortal, tokens: JwkTokenAuthentication, claims: dict[str, Any]
) -> None:
    token = STRANGER.signed(json.dumps(claims).encode())
    error = refused(portal, tokens, ("authorization", b"Bearer " + token.encode()))
    assert error.cause == "Invalid token signature"


@modest
@given(claims=claims, payload=st.none() | raw)
@example({"user_id": "u", "username": "n", "exp": 10**12}, None)
def test_signed_tokens_with_any_claims(
    portal: BlockingPortal, tokens: JwkTokenAuthentication, claims: dict[str, Any], payload: bytes | None
) -> None:
    """Whoever is let in has an id and a time limit."""
    token = KEY.signed(json.dumps(claims).encode() if payload is None else payload)
    try:
        principal = portal.call(tokens, request(("authorization", f"Bearer {token}")))
    except Unauthorized:
        return
    assert payload is None
    assert principal.user_id == claims["user_id"] != ""
    assert isinstance(claims["exp"], int | float)


person = mapping(user_id=st.text(), username=st.text(), cn=st.text(), client_id=st.text())
identity = mapping(
    type=st.sampled_from(["User", "System", "ServiceAccount"]),
    org_id=st.text(),
    account_number=st.text(),
    user=person,
    system=person,
    service_account=person,
)
not_entitled = st.sampled_from([1, "true", None, False, [True], {"a": True}])
entitlements = mapping(rhel=st.fixed_dictionaries({}, optional={"is_entitled": not_entitled}))


@modest
@given(value=raw)
def test_any_identity_header(portal: BlockingPortal, value: bytes) -> None:
    module = RHIdentityAuthentication(RHIdentityConfiguration())
    error = refused(portal, module, ("x-rh-identity", value))
    assert error.status == (400 if value else 401)
    error = refused(portal, module, ("x-rh-identity", base64.b64encode(value)))
    assert error.status == (400 if value else 401)


@modest
@given(content=anything | mapping(identity=identity, entitlements=entitlements))
@example({"identity": {"type": "User", "user": {"user_id": "u", "username": "n"}}})
def test_any_identity(portal: BlockingPortal, content: Any) -> None:
    value = base64.b64encode(json.dumps(content).encode())
    needing = RHIdentityAuthentication(RHIdentityConfiguration(required_entitlements=("rhel",)))
    assert refused(portal, needing, ("x-rh-identity", value)).status in {400, 403}
    needless = RHIdentityAuthentication(RHIdentityConfiguration())
    try:
        principal = portal.call(needless, request(("x-rh-identity", value)))
    except BadRequest:
        return
    assert content["identity"]["type"] in {"User", "System", "ServiceAccount"}
    assert principal.user_id.strip()
    assert principal.username.strip()
