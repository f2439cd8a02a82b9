"""The cluster that is asked about tokens: a client that is made when it is first needed."""

import asyncio
import logging
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from anyio import to_thread

from lightspeed.identity.kubernetes_errors import (
    ApiFailure,
    ClusterRefusal,
    review_failed,
    unavailable,
    version_failed,
)
from lightspeed.identity.kubernetes_settings import ClusterSettings
from lightspeed.identity.kubernetes_user import ClusterUser

if TYPE_CHECKING:
    from lightspeed.identity.kubernetes_client import KubernetesClient
    from lightspeed.identity.kubernetes_credentials import ClusterAccess

logger = logging.getLogger(__name__)

_ACCESS_PATH = "/ls-access"
_OUTSIDE = "local"


class Cluster:
    """All questions raise Unavailable while the cluster is away, ClusterRefusal when it lacks what they need."""

    def __init__(self, settings: ClusterSettings, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._environment = environment
        self._client: KubernetesClient | None = None
        self._opening = asyncio.Lock()
        self._id: str | None = None

    async def user(self, token: str) -> ClusterUser | None:
        """Whose token it is, None if it is nobody's."""
        client = await self._opened()
        try:
            return await client.review_token(token)
        except ApiFailure as failure:
            raise review_failed(failure) from failure

    async def admits(self, user: ClusterUser) -> bool:
        """Whether the cluster's rules let the user use this service."""
        client = await self._opened()
        try:
            return await client.may_get(_ACCESS_PATH, user.name, user.groups)
        except ApiFailure as failure:
            logger.warning("The Kubernetes API cannot tell who has access: %s", failure)
            raise unavailable("Unable to perform authorization check") from failure

    async def id(self) -> str:
        """What OpenShift calls the cluster; `local` outside a cluster. Read once."""
        if self._id is None:
            self._id = await self._read_id() if self._is_inside else _OUTSIDE
        return self._id

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def _is_inside(self) -> bool:
        names = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
        return all(self._environment.get(name) for name in names)

    async def _read_id(self) -> str:
        client = await self._opened()
        try:
            version = await client.cluster_version()
        except ApiFailure as failure:
            raise version_failed(failure) from failure
        specification = version.get("spec") if isinstance(version, dict) else None
        if not isinstance(specification, dict):
            raise ClusterRefusal("Missing or invalid 'spec' in ClusterVersion")
        found = specification.get("clusterID")
        if not isinstance(found, str) or not found:
            raise ClusterRefusal("Missing or invalid 'clusterID' in ClusterVersion")
        return found

    async def _opened(self) -> "KubernetesClient":
        async with self._opening:
            if self._client is None:
                try:
                    access = await to_thread.run_sync(self._read_access)
                    from lightspeed.identity.kubernetes_client import KubernetesClient

                    self._client = KubernetesClient(access, self._settings.timeout)
                except Exception as error:  # kubeconfig, plugins and certificates fail in many ways
                    logger.warning(
                        "The Kubernetes client cannot be made: %s: %s", type(error).__name__, error
                    )
                    raise unavailable("Unable to initialize Kubernetes client") from error
            return self._client

    def _read_access(self) -> "ClusterAccess":
        """In a thread, because it imports a large library and reads files."""
        import_module("lightspeed.identity.kubernetes_client")
        from lightspeed.identity.kubernetes_credentials import read_access

        return read_access(self._settings, self._environment)
