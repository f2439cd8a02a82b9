"""What authentication modules that ask the Kubernetes API have in common."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from lightspeed.configuration.authentication import AuthenticationConfiguration
from lightspeed.identity.bearer import BEARER_HEADER
from lightspeed.identity.kubernetes_cluster import Cluster
from lightspeed.identity.kubernetes_reviews import TokenReviews
from lightspeed.identity.kubernetes_settings import SERVICE_ACCOUNT, ClusterSettings


class KubernetesModule[ResultT](ABC):
    """Has bearer tokens reviewed by the cluster, each at most once in a while."""

    credentials: str | None = BEARER_HEADER

    def __init__(
        self,
        configuration: AuthenticationConfiguration,
        environment: Mapping[str, str] = os.environ,
        service_account: Path = SERVICE_ACCOUNT,
    ) -> None:
        self._cluster = Cluster(ClusterSettings.read(configuration, service_account), environment)
        self._reviews = TokenReviews(self._review, kept_for=configuration.k8s_review_cache_seconds)

    async def close(self) -> None:
        await self._reviews.close()
        await self._cluster.close()

    @abstractmethod
    async def _review(self, token: str) -> ResultT:
        """What the cluster says of a token. Raises for one that is not good."""
