"""The module `trusted-proxy` against a Kubernetes API over real HTTP."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import to_thread

from lightspeed.configuration.authentication import AuthenticationConfiguration
from lightspeed.errors import BadRequest, Forbidden, Unauthorized, Unavailable
from lightspeed.identity.principal import Principal
from lightspeed.identity.trusted_proxy import TrustedProxyAuthentication
from tests.identity.asking import refusal, request
from tests.identity.kubernetes_api import ACCESS_REVIEWS, TOKEN_REVIEWS, KubernetesApi

pytestmark = pytest.mark.anyio

PROXY = {"username": "system:serviceaccount:edge:proxy", "uid": "1", "groups": ["system:serviceaccounts"]}
OTHER = {"username": "system:serviceaccount:edge:other", "uid": "2"}
TOKEN = ("authorization", "Bearer proxys-token")
ALLOWED = [{"namespace": "edge", "name": "proxy"}]


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    with KubernetesApi(users={"proxys-token": PROXY, "others-token": OTHER}) as api:
        yield api


def configuration(address: str, **settings: Any) -> AuthenticationConfiguration:
    return AuthenticationConfiguration.model_validate(
        {"module": "trusted-proxy", "k8s_cluster_api": address, "trusted_proxy_config": settings}
    )


@asynccontextmanager
async def authentication(api: KubernetesApi, **settings: Any) -> AsyncIterator[TrustedProxyAuthentication]:
    given = await to_thread.run_sync(lambda: configuration(api.url, **settings))
    module = TrustedProxyAuthentication(given, {"KUBECONFIG": "/nowhere"})
    try:
        yield module
    finally:
        await module.close()


@pytest.mark.parametrize("allowed", [None, [], ALLOWED])
async def test_the_user_whom_the_proxy_names(api: KubernetesApi, allowed: Any) -> None:
    async with authentication(api, allowed_service_accounts=allowed) as module:
        principals = [await module(request(TOKEN, ("x-forwarded-user", name))) for name in ("jane", " joe ")]
    assert principals == [Principal(name, name, skip_userid_check=True) for name in ("jane", "joe")]
    assert len(api.asked(TOKEN_REVIEWS)) == 1
    assert not api.asked(ACCESS_REVIEWS)


async def test_another_header(api: KubernetesApi) -> None:
    async with authentication(api, user_header="X-Login") as module:
        asked = request(TOKEN, ("x-forwarded-user", "joe"), ("x-login", "jané".encode()))
        assert (await module(asked)).user_id == "jané"
        asked = request(TOKEN, ("x-login", b"jan\xe9"))  # Latin-1
        assert (await module(asked)).user_id == "jané"


@pytest.mark.parametrize(
    ("authorization", "cause"),
    [
        (None, "Missing Authorization header"),
        ("", "Missing Authorization header"),
        ("Basic abc", "No token found in Authorization header"),
        ("Bearer strange", "Invalid or expired proxy service account token"),
        ("Bearer nobodys", "Invalid service account token: missing user information"),
        ("Bearer nameless", "Invalid service account token: missing username"),
    ],
)
async def test_a_proxy_without_a_good_token(
    api: KubernetesApi, authorization: str | None, cause: str
) -> None:
    api.users |= {"nobodys": None, "nameless": {"uid": "3"}}
    given = [] if authorization is None else [("authorization", authorization)]
    async with authentication(api) as module:
        error = await refusal(module, request(*given, ("x-forwarded-user", "jane")))
    assert isinstance(error, Unauthorized)
    assert error.cause == cause
    assert error.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("jane", None),
        ("jane", ALLOWED),
        ("system:node:edge", None),
        ("system:serviceaccount:edge", None),
        ("system:serviceaccount::proxy", None),
        ("system:serviceaccount:edge:proxy:more", None),
        ("system:serviceaccount:edge:other", ALLOWED),
        ("system:serviceaccount:proxy:edge", ALLOWED),
        ("x:system:serviceaccount:edge:proxy", ALLOWED),
    ],
)
async def test_who_may_not_name_users(api: KubernetesApi, name: str, allowed: Any) -> None:
    api.users["proxys-token"] = {"username": name, "uid": "1"}
    async with authentication(api, allowed_service_accounts=allowed) as module:
        error = await refusal(module, request(TOKEN, ("x-forwarded-user", "jane")))
    assert isinstance(error, Forbidden)
    assert error.cause == f"User {name} is not authorized to access this endpoint."


@pytest.mark.parametrize("given", [[], [""], ["  "], ["", " "]])
async def test_a_proxy_that_names_nobody(api: KubernetesApi, given: list[str]) -> None:
    async with authentication(api) as module:
        error = await refusal(module, request(TOKEN, *[("x-forwarded-user", value) for value in given]))
    assert isinstance(error, Unauthorized)
    assert error.cause == "Missing required header 'X-Forwarded-User'"


@pytest.mark.parametrize("given", [["jane", "joe"], ["jane", ""], ["u" * 257], ["ja\tne"], ["\x85x"]])
async def test_a_user_who_cannot_be_one(api: KubernetesApi, given: list[str]) -> None:
    async with authentication(api) as module:
        error = await refusal(module, request(TOKEN, *[("x-forwarded-user", value) for value in given]))
    assert isinstance(error, BadRequest)


async def test_an_api_that_is_away(api: KubernetesApi) -> None:
    api.failures[TOKEN_REVIEWS] = 503
    async with authentication(api) as module:
        error = await refusal(module, request(TOKEN, ("x-forwarded-user", "jane")))
    assert isinstance(error, Unavailable)
    assert "Retry-After" in error.headers
