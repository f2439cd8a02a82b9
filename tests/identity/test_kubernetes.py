"""The module `k8s` against a Kubernetes API over real HTTP and TLS."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from anyio import to_thread
from blockbuster import BlockBuster

from lightspeed.configuration.authentication import AuthenticationConfiguration
from lightspeed.errors import Forbidden, RequestError, Unauthorized, Unavailable
from lightspeed.identity.kubernetes import KubernetesAuthentication
from tests.identity.asking import bearer, refusal, request
from tests.identity.kubernetes_api import ACCESS_REVIEWS, CLUSTER_VERSION, TOKEN_REVIEWS, KubernetesApi
from tests.storage.certificates import Authority

pytestmark = pytest.mark.anyio

USER = {"username": "jane", "uid": "2f6c-1", "groups": ["developers", "system:authenticated"]}
ADMINISTRATOR = {"username": "kube:admin", "groups": ["system:cluster-admins"]}
INSIDE = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    with KubernetesApi(
        users={"janes-token": USER, "admins-token": ADMINISTRATOR}, admitted={"jane", "kube:admin"}
    ) as api:
        yield api


@pytest.fixture(autouse=True)
def a_loop_of_its_own_reads_the_kubeconfig(no_blocking_calls: BlockBuster) -> None:
    for function in no_blocking_calls.functions.values():
        function.can_block_in("lightspeed/identity/kubernetes_credentials.py", {"_read_kubeconfig"})


@asynccontextmanager
async def authentication(
    address: str | None,
    environment: Mapping[str, str] | None = None,
    service_account: Path = Path("/nowhere"),
    **settings: Any,
) -> AsyncIterator[KubernetesAuthentication]:
    given = {"module": "k8s", "k8s_cluster_api": address} | settings
    configuration = await to_thread.run_sync(AuthenticationConfiguration.model_validate, given)
    environment = {"KUBECONFIG": "/nowhere"} | dict(environment or {})
    module = KubernetesAuthentication(configuration, environment, service_account)
    try:
        yield module
    finally:
        await module.close()


async def refused(module: KubernetesAuthentication, token: str | None = "janes-token") -> RequestError:
    return await refusal(module, request() if token is None else bearer(token))


async def test_a_user_whom_the_cluster_admits(api: KubernetesApi) -> None:
    async with authentication(api.url) as module:
        principal = await module(bearer("janes-token"))
    assert (principal.user_id, principal.username, principal.token) == ("2f6c-1", "jane", "janes-token")
    assert not principal.skip_userid_check
    assert "janes-token" not in repr(principal)
    [review] = api.asked(ACCESS_REVIEWS)
    assert review.body["spec"] == {
        "user": "jane",
        "groups": USER["groups"],
        "nonResourceAttributes": {"path": "/ls-access", "verb": "get"},
    }


@pytest.mark.parametrize(
    ("token", "cause"),
    [
        (None, "No Authorization header found"),
        ("two words", "No token found in Authorization header"),
        ("strangers-token", "Invalid or expired Kubernetes token"),
        ("tökén", "Invalid or expired Kubernetes token"),
    ],
)
async def test_a_token_that_is_not_good(api: KubernetesApi, token: str | None, cause: str) -> None:
    async with authentication(api.url) as module:
        error = await refused(module, token)
    assert isinstance(error, Unauthorized)
    assert error.cause == cause
    assert error.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "user",
    [
        None,
        {},
        {"username": "jane"},
        {"username": "jane", "uid": ""},
        {"username": "jane", "uid": " "},
        {"username": "jane", "uid": "a\nb"},
        {"username": "jane", "uid": "u" * 300},
        {"uid": "1"},
    ],
)
async def test_a_user_without_uid_or_name_is_not_let_in(
    api: KubernetesApi, user: dict[str, Any] | None
) -> None:
    api.users["odd"] = user
    async with authentication(api.url) as module:
        error = await refused(module, "odd")
    assert isinstance(error, Unauthorized)
    assert error.cause.startswith("Invalid Kubernetes token: missing or invalid user ")
    assert not api.asked(ACCESS_REVIEWS)


async def test_a_user_whom_the_cluster_does_not_admit(api: KubernetesApi) -> None:
    api.admitted.clear()
    async with authentication(api.url) as module:
        error = await refused(module)
    assert isinstance(error, Forbidden)
    assert (error.response, error.cause) == (
        "User does not have permission to access this endpoint",
        "User 2f6c-1 is not authorized to access this endpoint.",
    )


@pytest.mark.parametrize(
    ("path", "status", "cause", "code"),
    [
        (TOKEN_REVIEWS, 500, "Kubernetes API unavailable: Internal Server Error (status 500)", 503),
        (TOKEN_REVIEWS, 503, "Kubernetes API unavailable: Service Unavailable (status 503)", 503),
        (TOKEN_REVIEWS, 429, "Kubernetes API unavailable: Too Many Requests (status 429)", 503),
        (TOKEN_REVIEWS, 401, "Kubernetes API request failed: Unauthorized (status 401)", 500),
        (TOKEN_REVIEWS, 403, "Kubernetes API request failed: Forbidden (status 403)", 500),
        (ACCESS_REVIEWS, 500, "Unable to perform authorization check", 503),
        (ACCESS_REVIEWS, 403, "Unable to perform authorization check", 503),
    ],
)
async def test_a_review_that_fails(api: KubernetesApi, path: str, status: int, cause: str, code: int) -> None:
    api.failures[path] = status
    async with authentication(api.url) as module:
        error = await refused(module)
        api.failures.clear()
        assert (await module(bearer("janes-token"))).username == "jane"
    check(error, cause, code)


def check(error: RequestError, cause: str, code: int) -> None:
    assert (error.status, error.cause) == (code, cause)
    if code == 503:
        assert error.response == "Unable to connect to Kubernetes API"
        assert int(error.headers["Retry-After"]) > 0
    else:
        assert error.response == "Internal server error"


@pytest.mark.parametrize("answer", ["", "no json", "[]", "{}", '{"status": 7}', '{"status": {}}', "null"])
@pytest.mark.parametrize("path", [TOKEN_REVIEWS, ACCESS_REVIEWS])
async def test_an_answer_that_is_none_lets_nobody_in(api: KubernetesApi, path: str, answer: str) -> None:
    api.raw[path] = answer
    async with authentication(api.url) as module:
        error = await refused(module)
    assert isinstance(error, Unauthorized | Unavailable | Forbidden)


async def test_an_empty_answer_says_nothing_against_the_token(api: KubernetesApi) -> None:
    api.raw[TOKEN_REVIEWS] = "null"
    async with authentication(api.url) as module:
        error = await refused(module)
    check(error, "Failed to connect to Kubernetes API: the answer holds no status", 503)


async def test_an_api_that_goes_away_and_comes_back(api: KubernetesApi) -> None:
    async with authentication(api.url, k8s_review_cache_seconds=0) as module:
        assert await module(bearer("janes-token"))
        await to_thread.run_sync(api.__exit__, None, None, None)
        try:
            error = await refused(module)
        finally:
            await to_thread.run_sync(api.__enter__)
        check(error, "Failed to connect to Kubernetes API: connection failed", 503)
        assert (await module(bearer("janes-token"))).username == "jane"


async def test_an_api_that_does_not_answer(api: KubernetesApi) -> None:
    api.held.clear()
    async with authentication(api.url, k8s_timeout_seconds=1) as module:
        error = await refused(module)
    check(error, "Failed to connect to Kubernetes API: no answer within 1 seconds", 503)


def certificates(folder: Path) -> tuple[Path, Path]:
    """The authority's, and the server's with its key."""
    authority = Authority.make("cluster")
    (folder / "ca.crt").write_bytes(authority.certificate)
    (folder / "server.pem").write_bytes(b"".join(authority.server("127.0.0.1")))
    return folder / "ca.crt", folder / "server.pem"


async def test_certificates_are_checked_unless_told(tmp_path: Path) -> None:
    authority, server = certificates(tmp_path)
    with KubernetesApi(server, {"janes-token": USER}, {"jane"}) as api:
        async with authentication(api.url, k8s_ca_cert_path=authority) as module:
            assert (await module(bearer("janes-token"))).username == "jane"
        async with authentication(api.url, skip_tls_verification=True) as module:
            assert (await module(bearer("janes-token"))).username == "jane"
        async with authentication(api.url) as module:
            error = await refused(module)
    check(error, "Failed to connect to Kubernetes API: TLS connection failed", 503)


async def test_in_a_cluster_the_pod_says_who_asks(tmp_path: Path) -> None:
    _, server = certificates(tmp_path)
    (tmp_path / "token").write_text("pods-token")
    with KubernetesApi(server, {"janes-token": USER}, {"jane"}) as api:
        environment = INSIDE | {"KUBERNETES_SERVICE_PORT": str(api.port)}
        async with authentication(None, environment, tmp_path) as module:
            assert (await module(bearer("janes-token"))).username == "jane"
    assert {seen.authorization for seen in api.seen} == {"Bearer pods-token"}


async def test_outside_a_cluster_the_kubeconfig_does(api: KubernetesApi, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(kubeconfig(api.url, {"token": "developers-token"})))
    async with authentication(None, {"KUBECONFIG": str(file)}) as module:
        assert (await module(bearer("janes-token"))).username == "jane"
    assert {seen.authorization for seen in api.seen} == {"Bearer developers-token"}


def kubeconfig(server: str, user: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": dict(user)}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


async def test_credentials_that_cannot_be_read_are_read_again(
    api: KubernetesApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("clusters: [")
    async with authentication(None, {"KUBECONFIG": str(file)}) as module:
        check(await refused(module), "Unable to initialize Kubernetes client", 503)
        file.write_text(yaml.safe_dump(kubeconfig(api.url, {"token": "developers-token"})))
        assert (await module(bearer("janes-token"))).username == "jane"
    assert "janes-token" not in caplog.text


async def test_an_unusable_certificate_of_the_authority(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    async with authentication("https://127.0.0.1:1", k8s_ca_cert_path=tmp_path / "ca.crt") as module:
        check(await refused(module), "Unable to initialize Kubernetes client", 503)


async def test_the_first_administrator_outside_a_cluster(api: KubernetesApi) -> None:
    async with authentication(api.url) as module:
        principal = await module(bearer("admins-token"))
    assert (principal.user_id, principal.username) == ("local", "kube:admin")
    assert not api.asked(CLUSTER_VERSION)


async def test_the_first_administrator_in_a_cluster(api: KubernetesApi) -> None:
    async with authentication(api.url, INSIDE, k8s_review_cache_seconds=0) as module:
        ids = {(await module(bearer("admins-token"))).user_id for _ in range(3)}
    assert ids == {"cluster-1"}
    assert len(api.asked(CLUSTER_VERSION)) == 1


@pytest.mark.parametrize(
    ("break_it", "cause", "code"),
    [
        (404, "ClusterVersion 'version' resource not found in OpenShift cluster", 500),
        (403, "Insufficient permissions to read ClusterVersion resource", 500),
        (400, "Kubernetes API request failed: Bad Request (status 400)", 500),
        (500, "Failed to connect to Kubernetes API: Internal Server Error (status 500)", 503),
        (429, "Failed to connect to Kubernetes API: Too Many Requests (status 429)", 503),
        ({}, "Missing or invalid 'spec' in ClusterVersion", 500),
        ({"spec": "x"}, "Missing or invalid 'spec' in ClusterVersion", 500),
        ({"spec": {}}, "Missing or invalid 'clusterID' in ClusterVersion", 500),
        ({"spec": {"clusterID": 7}}, "Missing or invalid 'clusterID' in ClusterVersion", 500),
        ({"spec": {"clusterID": ""}}, "Missing or invalid 'clusterID' in ClusterVersion", 500),
    ],
)
async def test_a_cluster_that_does_not_tell_its_id(
    api: KubernetesApi, break_it: Any, cause: str, code: int
) -> None:
    if isinstance(break_it, int):
        api.failures[CLUSTER_VERSION] = break_it
    else:
        api.cluster_version = break_it
    async with authentication(api.url, INSIDE) as module:
        check(await refused(module, "admins-token"), cause, code)


async def test_many_requests_at_once_make_one_review(api: KubernetesApi) -> None:
    api.held.clear()
    async with authentication(api.url) as module:
        waiting = [asyncio.create_task(module(bearer("janes-token"))) for _ in range(20)]
        await to_thread.run_sync(api.arrived.wait, 30)
        waiting[0].cancel()
        api.held.set()
        principals = await asyncio.gather(*waiting[1:])
        assert {principal.username for principal in principals} == {"jane"}
        assert (await module(bearer("janes-token"))).username == "jane"
    assert len(api.asked(TOKEN_REVIEWS)) == len(api.asked(ACCESS_REVIEWS)) == 1


async def test_what_is_refused_is_asked_again(api: KubernetesApi) -> None:
    async with authentication(api.url) as module:
        await refused(module, "new-token")
        api.users["new-token"] = USER
        assert (await module(bearer("new-token"))).username == "jane"


async def test_the_token_of_this_service_is_renewed(tmp_path: Path) -> None:
    _, server = certificates(tmp_path)
    (tmp_path / "token").write_text("first")
    with KubernetesApi(server, {"janes-token": USER}, {"jane"}) as api:
        environment = INSIDE | {"KUBERNETES_SERVICE_PORT": str(api.port)}
        async with authentication(None, environment, tmp_path, k8s_review_cache_seconds=0) as module:
            await module(bearer("janes-token"))
            (tmp_path / "token").write_text("second")
            a_minute_later(module)
            await module(bearer("janes-token"))
    assert api.seen[0].authorization == "Bearer first"
    assert api.seen[-1].authorization == "Bearer second"


def a_minute_later(module: KubernetesAuthentication) -> None:
    client: Any = module._cluster._client
    client._client.configuration.refresh_api_key_hook._next = 0.0


async def test_nobody_is_asked_about_a_request_without_a_token() -> None:
    async with authentication("https://127.0.0.1:1") as module:
        assert module.credentials == "authorization"
        assert (await refused(module, None)).status == 401
