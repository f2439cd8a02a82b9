"""Questions to the Kubernetes API, by its own library. Imports a large library: do it in a thread."""

import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
from kubernetes_asyncio.client import AuthenticationV1Api, AuthorizationV1Api, CustomObjectsApi
from kubernetes_asyncio.client.api_client import ApiClient
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.client.rest import RESTClientObject

from lightspeed.identity.kubernetes_credentials import ClusterAccess
from lightspeed.identity.kubernetes_errors import ApiFailure
from lightspeed.identity.kubernetes_user import ClusterUser

logger = logging.getLogger(__name__)

_AGENT = "lightspeed"


class KubernetesClient:
    """All methods raise ApiFailure, after at most `timeout` seconds. Made in the event loop, ended by `close`."""

    def __init__(self, access: ClusterAccess, timeout: float) -> None:
        self._client = _Client(access)
        self._timeout = timeout
        self._authentication: Any = AuthenticationV1Api(self._client)
        self._authorization: Any = AuthorizationV1Api(self._client)
        self._objects: Any = CustomObjectsApi(self._client)

    async def close(self) -> None:
        await self._client.close()

    async def review_token(self, token: str) -> ClusterUser | None:
        """Whose token it is, None if it is nobody's (TokenReview, authentication.k8s.io/v1)."""
        review = await self._asked(
            self._authentication.create_token_review,
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}},
        )
        status = getattr(review, "status", None)
        if status is None:
            raise ApiFailure("the answer holds no status")
        if status.authenticated is not True:
            return None
        user = status.user
        if user is None:
            return ClusterUser()
        return ClusterUser(_text(user.username), _text(user.uid), tuple(map(_text, user.groups or ())))

    async def may_get(self, path: str, user: str, groups: Sequence[str]) -> bool:
        """Whether the cluster's rules let the user `get` a path (SubjectAccessReview, authorization.k8s.io/v1)."""
        review = await self._asked(
            self._authorization.create_subject_access_review,
            body={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {
                    "user": user,
                    "groups": list(groups),
                    "nonResourceAttributes": {"path": path, "verb": "get"},
                },
            },
        )
        status = getattr(review, "status", None)
        if status is None:
            raise ApiFailure("the answer holds no status")
        return status.allowed is True

    async def cluster_version(self) -> Any:
        """OpenShift's ClusterVersion `version` (config.openshift.io/v1), as the API sends it."""
        return await self._asked(
            self._objects.get_cluster_custom_object,
            group="config.openshift.io",
            version="v1",
            plural="clusterversions",
            name="version",
        )

    async def _asked(self, call: Callable[..., Awaitable[Any]], **arguments: Any) -> Any:
        try:
            return await call(_request_timeout=self._timeout, **arguments)
        except ApiException as error:
            failure = ApiFailure(str(error.reason), error.status or None)
        except TimeoutError:
            failure = ApiFailure(f"no answer within {self._timeout:g} seconds")
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            logger.warning("No TLS connection to the Kubernetes API: %s", error)
            failure = ApiFailure("TLS connection failed")
        except (aiohttp.ClientError, OSError) as error:
            logger.warning("No connection to the Kubernetes API: %s", error)
            failure = ApiFailure("connection failed")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # The library does not check what it reads.
            logger.warning("The answer of the Kubernetes API cannot be read: %s", type(error).__name__)
            failure = ApiFailure("the answer cannot be read")
        raise failure


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class _Client(ApiClient):
    """The library's client, with a TLS context that was made before: it would read certificates in the event loop."""

    def __init__(self, access: ClusterAccess) -> None:
        self.configuration = access.configuration
        self.pool_threads = 1
        self.rest_client = _Connections(access)
        self.default_headers: dict[str, str] = {}
        self.cookie: Any = None
        self.user_agent = _AGENT
        self.client_side_validation = access.configuration.client_side_validation


class _Connections(RESTClientObject):
    def __init__(self, access: ClusterAccess) -> None:
        configuration = access.configuration
        self.server_hostname = configuration.tls_server_name
        self.proxy = configuration.proxy
        self.proxy_headers = configuration.proxy_headers
        connector = aiohttp.TCPConnector(limit=configuration.connection_pool_maxsize, ssl=access.tls)
        self.pool_manager = aiohttp.ClientSession(connector=connector, trust_env=True)
