"""Headers, and answers of the Kubernetes API, that nobody thought of: nobody is let in, and no fault of ours."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import given
from hypothesis import strategies as st

from lightspeed.configuration.authentication import AuthenticationConfiguration
from lightspeed.errors import BadRequest, Forbidden, Unauthorized, Unavailable
from lightspeed.identity.authentication import Authentication
from lightspeed.identity.kubernetes import KubernetesAuthentication
from lightspeed.identity.trusted_proxy import TrustedProxyAuthentication
from tests.identity.asking import refusal, request
from tests.identity.kubernetes_api import TOKEN_REVIEWS, KubernetesApi
from tests.identity.test_fuzz import anything, mapping, modest, raw, words

NOWHERE = {"KUBECONFIG": "/nowhere"}

answers = anything | mapping(
    kind=st.just("TokenReview"),
    status=mapping(
        authenticated=st.just(False),
        user=mapping(username=st.just("jane"), uid=st.just("1"), groups=st.lists(st.text(max_size=3))),
    ),
)


@pytest.fixture(scope="module")
def api() -> Iterator[KubernetesApi]:
    with KubernetesApi() as api:
        yield api


@pytest.fixture(scope="module")
def modules(api: KubernetesApi) -> Iterator[tuple[BlockingPortal, list[Authentication]]]:
    with start_blocking_portal() as portal:
        given = {"module": "k8s", "k8s_cluster_api": api.url, "k8s_review_cache_seconds": 0}
        configuration = AuthenticationConfiguration.model_validate(given)

        async def make() -> list[Authentication]:
            return [
                kind(configuration, NOWHERE)
                for kind in (KubernetesAuthentication, TrustedProxyAuthentication)
            ]

        made = portal.call(make)
        yield portal, made
        for module in made:
            portal.call(module.close)


def check(modules: tuple[BlockingPortal, list[Authentication]], *headers: tuple[str, bytes]) -> None:
    portal, made = modules
    for module in made:
        error = portal.call(refusal, module, request(*headers))
        assert type(error) in {BadRequest, Unauthorized, Forbidden, Unavailable}


@modest
@given(value=raw | st.tuples(words, raw).map(b"".join), user=raw)
def test_headers(modules: tuple[BlockingPortal, list[Authentication]], value: bytes, user: bytes) -> None:
    check(modules, ("authorization", value), ("x-forwarded-user", user))


@modest
@given(answer=answers)
def test_answers(
    modules: tuple[BlockingPortal, list[Authentication]], api: KubernetesApi, answer: Any
) -> None:
    """None of these says that a token is good."""
    api.raw[TOKEN_REVIEWS] = json.dumps(answer)
    check(modules, ("authorization", b"Bearer token"), ("x-forwarded-user", b"jane"))
    del api.raw[TOKEN_REVIEWS]
