"""Authentication by a proxy in the cluster that names the user: the module `trusted-proxy`."""

import os
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request

from lightspeed.configuration.authentication import AuthenticationConfiguration, TrustedProxyConfiguration
from lightspeed.errors import BadRequest
from lightspeed.identity.bearer import BEARER_HEADER, bearer_token, rejected, unproved
from lightspeed.identity.kubernetes_errors import forbidden
from lightspeed.identity.kubernetes_module import KubernetesModule
from lightspeed.identity.kubernetes_settings import SERVICE_ACCOUNT
from lightspeed.identity.principal import Principal
from lightspeed.identity.user_names import is_plain

_PREFIX = "system:serviceaccount:"

type Account = tuple[str, str]
"""Namespace and name."""


class TrustedProxyAuthentication(KubernetesModule[None]):
    """Takes the user whom a service account of the cluster names in a header."""

    def __init__(
        self,
        configuration: AuthenticationConfiguration,
        environment: Mapping[str, str] = os.environ,
        service_account: Path = SERVICE_ACCOUNT,
    ) -> None:
        settings = configuration.trusted_proxy_config or TrustedProxyConfiguration()
        self._header = settings.user_header
        self._allowed = _accounts(settings)
        super().__init__(configuration, environment, service_account)

    async def __call__(self, request: Request) -> Principal:
        """Raises BadRequest, Unauthorized, Forbidden or Unavailable, ClusterRefusal as the module `k8s`."""
        if not any(request.headers.getlist(BEARER_HEADER)):
            raise unproved("Missing Authorization header")
        await self._reviews(bearer_token(request))
        user = self._named_user(request)
        # The proxy's token is not the user's: it goes nowhere.
        return Principal(user, user, skip_userid_check=True)

    async def _review(self, token: str) -> None:
        """Raises unless it is the token of an account that may name users."""
        user = await self._cluster.user(token)
        if user is None:
            raise rejected("Invalid or expired proxy service account token")
        if not user.name:
            missing = "username" if user.uid or user.groups else "user information"
            raise rejected(f"Invalid service account token: missing {missing}")
        account = _account(user.name)
        if account is None or (self._allowed and account not in self._allowed):
            raise forbidden(user.name)

    def _named_user(self, request: Request) -> str:
        given = [value.strip(" \t") for value in request.headers.getlist(self._header)]
        if not any(given):
            raise unproved(f"Missing required header '{self._header}'")
        if len(given) > 1:
            # One of them may be the user's own.
            raise BadRequest(f"Header '{self._header}' is given more than once", response="Invalid user")
        user = _decoded(given[0])
        if not is_plain(user):
            raise BadRequest(
                f"Header '{self._header}' is too long or holds control characters", response="Invalid user"
            )
        return user


def _accounts(settings: TrustedProxyConfiguration) -> frozenset[Account]:
    return frozenset((account.namespace, account.name) for account in settings.allowed_service_accounts or ())


def _account(user: str) -> Account | None:
    """The service account whose user name it is."""
    if not user.startswith(_PREFIX):
        return None
    namespace, _, name = user.removeprefix(_PREFIX).partition(":")
    return (namespace, name) if namespace and name and ":" not in name else None


def _decoded(value: str) -> str:
    """Most proxies send UTF-8, which HTTP servers read as Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
