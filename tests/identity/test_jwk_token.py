"""The module `jwk-token`, with a real key server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import to_thread

from lightspeed.configuration.authentication import ASYMMETRIC_ALGORITHMS, JwkConfiguration
from lightspeed.identity.jwk_token import JwkTokenAuthentication
from lightspeed.identity.principal import Principal
from tests.clock import Clock
from tests.identity.asking import bearer, refusal, request
from tests.identity.jwks_server import JwksServer, jwks_server
from tests.identity.signing import encoded, key_set, signing_key

pytestmark = pytest.mark.anyio

KEY = signing_key("ES256")
INVALID_TOKEN = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
UNKNOWN_KEY = "Token signed by unknown key"
NOT_DECODED = "Token could not be decoded"
UNKNOWN = "Unknown token error"


@pytest.fixture
def server() -> Iterator[JwksServer]:
    with jwks_server(key_set(KEY.jwk(kid="k"))) as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def module(
    server: JwksServer, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[JwkTokenAuthentication]:
    configuration = JwkConfiguration.model_validate({"url": server.url} | settings)
    authenticate = JwkTokenAuthentication(configuration, clock or Clock())
    try:
        yield authenticate
    finally:
        await authenticate.close()


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("algorithm", ASYMMETRIC_ALGORITHMS)
async def test_the_user_of_a_token(server: JwksServer, algorithm: str, declared: bool) -> None:
    key = signing_key(algorithm)
    server.answer_json(key_set(key.jwk(kid="k", **({} if declared else {"alg": None}))))
    token = key.token()
    async with module(server) as authenticate:
        assert await authenticate(bearer(token)) == Principal("u-1", "Ada", token=token)


async def test_other_claims(server: JwksServer) -> None:
    claims = {"user_id_claim": "sub", "username_claim": "preferred_username"}
    token = KEY.token(user_id=5, username=..., sub="u-2", preferred_username="")
    async with module(server, jwt_configuration=claims) as authenticate:
        assert await authenticate(bearer(token)) == Principal("u-2", "", token=token)


async def test_roles(server: JwksServer) -> None:
    rule = {"jsonpath": "$.groups[*]", "operator": "contains", "value": "ops", "roles": ["admin", "reader"]}
    async with module(server, jwt_configuration={"role_rules": [rule]}) as authenticate:
        assert (await authenticate(bearer(KEY.token(groups=["x", "ops"])))).roles == {"*", "admin", "reader"}
        assert (await authenticate(bearer(KEY.token(groups=["x"])))).roles == {"*"}
        assert (await authenticate(bearer(KEY.token()))).roles == {"*"}


def unsigned(header: Any, payload: Any = None) -> str:
    return f"{encoded(header)}.{encoded(payload or {'user_id': 'u', 'username': 'n'})}.{encoded(b'x' * 64)}"


REFUSED = [
    (signing_key("ES256", 1).token(), "Invalid token signature"),
    (unsigned({"alg": "ES256", "kid": "k"}), "Invalid token signature"),
    (KEY.token(kid="other"), UNKNOWN_KEY),
    (signing_key("RS256").token(), UNKNOWN_KEY),
    (signing_key("RS256").token(kid=None), UNKNOWN_KEY),
    ("x", NOT_DECODED),
    ("a.b.c", NOT_DECODED),
    ("\xe9\xff.\xa0.x", NOT_DECODED),
    ("!!" + KEY.token(), NOT_DECODED),
    (KEY.token() + "!", NOT_DECODED),
    (KEY.token() + "=", NOT_DECODED),
    (KEY.signed(b"[]"), NOT_DECODED),
    (KEY.signed(b"not json"), NOT_DECODED),
    (unsigned({"alg": "none"}), UNKNOWN),
    (unsigned({"kid": "k"}), UNKNOWN),
    (unsigned({"alg": "XX256"}), UNKNOWN),
    (signing_key("HS256").token(), UNKNOWN),
    (KEY.token(headers={"crit": ["x"], "x": 1}), UNKNOWN),
    (unsigned({"alg": "RSA-OAEP", "enc": "A128GCM"}) + ".x.y", UNKNOWN),
    (KEY.token(exp=int(time.time()) - 60), "Token has expired"),
    (KEY.token(exp=...), "Token missing claim: exp"),
    (KEY.token(exp="x"), "Token validation failed"),
    (KEY.token(nbf=int(time.time()) + 60), "Token validation failed"),
    (KEY.token(iat=int(time.time()) + 60), "Token validation failed"),
    (KEY.token(user_id=..., username=...), "Token missing claim: user_id"),
    (KEY.token(username=...), "Token missing claim: username"),
    (KEY.token(user_id=None), "Token missing claim: user_id"),
    (KEY.token(username=None), "Token missing claim: username"),
    (KEY.token(user_id=""), "Token missing claim: user_id"),
    (KEY.token(user_id=["u"]), "Token claim is not usable: user_id"),
    (KEY.token(username=5), "Token claim is not usable: username"),
]


@pytest.mark.parametrize(("token", "cause"), REFUSED, ids=[f"{i}-{row[1]}" for i, row in enumerate(REFUSED)])
async def test_what_is_refused(server: JwksServer, token: str, cause: str) -> None:
    async with module(server) as authenticate:
        error = await refusal(authenticate, bearer(token.encode("latin-1")))
    assert (error.status, error.cause) == (401, cause)
    assert error.response == "Missing or invalid credentials provided by client"
    assert error.headers == INVALID_TOKEN
    assert token not in str(error)


async def test_no_token(server: JwksServer) -> None:
    async with module(server) as authenticate:
        error = await refusal(authenticate, request())
        assert (error.status, error.cause) == (401, "No Authorization header found")
        error = await refusal(authenticate, request(("authorization", "Bearer")))
        assert (error.status, error.cause) == (401, "No token found in Authorization header")
    assert server.requests == 0


async def test_issuer_and_audience(server: JwksServer) -> None:
    async with module(server, issuer="https://i", audience=["assistant", "other"]) as authenticate:
        good = {"iss": "https://i", "aud": ["x", "assistant"]}
        assert (await authenticate(bearer(KEY.token(**good)))).user_id == "u-1"
        for wrong in ({"iss": "https://j"}, {"iss": ...}, {"aud": "x"}, {"aud": ...}):
            error = await refusal(authenticate, bearer(KEY.token(**(good | wrong))))
            assert (error.status, error.cause) == (401, "Token validation failed")


async def test_only_the_algorithms_that_are_allowed(server: JwksServer) -> None:
    other = signing_key("ES384")
    server.answer_json(key_set(KEY.jwk(kid="k"), other.jwk(kid="l")))
    async with module(server, algorithms=["ES384"]) as authenticate:
        assert await authenticate(bearer(other.token(kid="l")))
        assert (await refusal(authenticate, bearer(KEY.token()))).cause == UNKNOWN


async def test_secrets_of_a_key_server_sign_only_where_that_is_allowed(server: JwksServer) -> None:
    secret = signing_key("HS256")
    server.answer_json(key_set(secret.jwk(kid="k")))
    async with module(server) as authenticate:
        assert (await refusal(authenticate, bearer(secret.token()))).cause == UNKNOWN
    async with module(server, algorithms=["HS256", "ES256"]) as authenticate:
        assert (await authenticate(bearer(secret.token()))).user_id == "u-1"
        assert (await refusal(authenticate, bearer(KEY.token()))).cause == UNKNOWN_KEY


async def test_a_new_key_is_found_at_once(server: JwksServer, clock: Clock) -> None:
    new = signing_key("EdDSA")
    async with module(server, clock) as authenticate:
        assert await authenticate(bearer(KEY.token()))
        assert (await refusal(authenticate, bearer(new.token(kid="new")))).cause == UNKNOWN_KEY
        server.answer_json(key_set(new.jwk(kid="new")))
        clock.now += 5
        assert await authenticate(bearer(new.token(kid="new")))
        assert (await refusal(authenticate, bearer(KEY.token()))).cause == UNKNOWN_KEY
        assert server.requests == 2


async def test_a_new_key_without_key_ids(server: JwksServer, clock: Clock) -> None:
    new = signing_key("ES256", 1)
    server.answer_json(key_set(KEY.jwk()))
    async with module(server, clock) as authenticate:
        assert await authenticate(bearer(KEY.token(kid=None)))
        server.answer_json(key_set(new.jwk()))
        assert (await refusal(authenticate, bearer(new.token(kid=None)))).cause == "Invalid token signature"
        clock.now += 5
        assert await authenticate(bearer(new.token(kid=None)))
        assert (await refusal(authenticate, bearer(KEY.token(kid=None)))).cause == "Invalid token signature"


async def test_the_server_dies_and_comes_back(server: JwksServer, clock: Clock) -> None:
    new = signing_key("RS256")
    async with module(server, clock) as authenticate:
        assert await authenticate(bearer(KEY.token()))
        await to_thread.run_sync(server.stop)
        clock.now += 7200
        for _ in range(3):
            assert (await authenticate(bearer(KEY.token()))).user_id == "u-1"
        error = await refusal(authenticate, bearer(new.token(kid="new")))
        assert (error.status, error.cause) == (503, "Unable to reach authentication key server")

        server.answer_json(key_set(KEY.jwk(kid="k"), new.jwk(kid="new")))
        await to_thread.run_sync(server.start)
        clock.now += 5
        assert (await authenticate(bearer(new.token(kid="new")))).user_id == "u-1"
        assert (await authenticate(bearer(KEY.token()))).user_id == "u-1"


async def test_no_server_from_the_start(server: JwksServer, clock: Clock) -> None:
    await to_thread.run_sync(server.stop)
    async with module(server, clock) as authenticate:
        error = await refusal(authenticate, bearer(KEY.token()))
        assert (error.status, error.cause) == (503, "Unable to reach authentication key server")
        assert error.headers["Retry-After"] == "5"
        await to_thread.run_sync(server.start)
        clock.now += 1
        assert await authenticate(bearer(KEY.token()))


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"<html>", "Authentication key server returned invalid data"),
        (b"{}", "Authentication keys are malformed"),
        (json.dumps(key_set({"kty": "X"})).encode(), "Authentication keys are malformed"),
    ],
)
async def test_a_server_without_keys(server: JwksServer, body: bytes, cause: str) -> None:
    server.answer(body)
    async with module(server) as authenticate:
        error = await refusal(authenticate, bearer(KEY.token()))
    assert (error.status, error.cause) == (401, cause)
    # It is not the token that is wrong.
    assert error.headers == {"WWW-Authenticate": "Bearer"}


async def test_many_first_requests_share_one_fetch(server: JwksServer) -> None:
    server.released.clear()
    async with module(server) as authenticate:
        asking = [asyncio.create_task(authenticate(bearer(KEY.token(user_id=f"u-{i}")))) for i in range(40)]
        await to_thread.run_sync(server.asked.wait)
        server.released.set()
        assert [one.user_id for one in await asyncio.gather(*asking)] == [f"u-{i}" for i in range(40)]
    assert server.requests == 1
