"""Where the Kubernetes API is, and as whom this service speaks to it. Imports a large library: do it in a thread."""

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio import to_thread
from kubernetes_asyncio.client.configuration import Configuration
from kubernetes_asyncio.config.config_exception import ConfigException
from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader
from kubernetes_asyncio.config.kube_config import load_kube_config

from lightspeed.identity.kubernetes_settings import ClusterSettings

logger = logging.getLogger(__name__)

_KUBECONFIG = "~/.kube/config"
_TOKEN = "BearerToken"  # noqa: S105 - the library's name for it
_RENEWED_AFTER = 60.0  # seconds; tokens of service accounts are replaced on disk, those of plugins end


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """What a client of the API is made of."""

    configuration: Any
    tls: ssl.SSLContext


def read_access(settings: ClusterSettings, environment: Mapping[str, str]) -> ClusterAccess:
    """The service account of the pod, else the kubeconfig, else the library's defaults; then the settings.

    Reads files and may run a plugin: call it in a thread. Raises whatever is wrong with them.
    """
    configuration = _read(settings, environment)
    configuration.refresh_api_key_hook = _Renewal(settings, environment)
    return ClusterAccess(configuration, _tls(configuration))


def _read(settings: ClusterSettings, environment: Mapping[str, str]) -> Any:
    configuration: Any = Configuration()
    if not _read_service_account(configuration, settings, environment):
        _read_kubeconfig(configuration, environment)
    if settings.address is not None:
        configuration.host = settings.address
    if settings.certificates is not None:
        configuration.ssl_ca_cert = str(settings.certificates)
    if settings.skip_tls_verification:
        configuration.verify_ssl = False
    return configuration


def _read_service_account(
    configuration: Any, settings: ClusterSettings, environment: Mapping[str, str]
) -> bool:
    loader = InClusterConfigLoader(
        token_filename=str(settings.service_account / "token"),
        cert_filename=str(settings.service_account / "ca.crt"),
        try_refresh_token=False,
        environ=dict(environment),
    )
    try:
        loader.load_and_set(configuration)
    except ConfigException:  # not in a cluster
        return False
    return True


def _read_kubeconfig(configuration: Any, environment: Mapping[str, str]) -> None:
    files = environment.get("KUBECONFIG") or _KUBECONFIG
    if any(Path(file).expanduser().exists() for file in files.split(os.pathsep) if file):
        # In a loop of its own, in which nobody waits while files are read.
        asyncio.run(load_kube_config(config_file=files, client_configuration=configuration))


def _tls(configuration: Any) -> ssl.SSLContext:
    """As the library makes it, which it would do in the event loop."""
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.disable_strict_ssl_verification:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class _Renewal:
    """Called by the library before each request, to renew the token of this service."""

    def __init__(self, settings: ClusterSettings, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._environment = environment
        self._next = time.monotonic() + _RENEWED_AFTER

    async def __call__(self, configuration: Any) -> None:
        if time.monotonic() < self._next:
            return
        # The others go on with the token that is there.
        self._next = time.monotonic() + _RENEWED_AFTER
        try:
            fresh = await to_thread.run_sync(_read, self._settings, self._environment)
        except Exception as error:  # whatever a plugin may raise
            logger.warning(
                "The credentials for the Kubernetes API cannot be renewed: %s", type(error).__name__
            )
            return
        if _TOKEN in fresh.api_key:
            configuration.api_key[_TOKEN] = fresh.api_key[_TOKEN]
