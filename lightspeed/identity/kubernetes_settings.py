"""Which Kubernetes API is asked, and how patiently."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lightspeed.configuration.authentication import AuthenticationConfiguration

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts the credentials of a pod."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """`address` and `certificates` replace what pod or kubeconfig say; `timeout` in seconds, of one request."""

    address: str | None = None
    certificates: Path | None = None
    skip_tls_verification: bool = False
    timeout: float = 10.0
    service_account: Path = SERVICE_ACCOUNT

    @classmethod
    def read(
        cls, configuration: AuthenticationConfiguration, service_account: Path = SERVICE_ACCOUNT
    ) -> Self:
        address = configuration.k8s_cluster_api
        return cls(
            address=str(address).rstrip("/") if address is not None else None,
            certificates=configuration.k8s_ca_cert_path,
            skip_tls_verification=configuration.skip_tls_verification,
            timeout=float(configuration.k8s_timeout_seconds),
            service_account=service_account,
        )
