"""Authentication that works, but lets more people in than it seems to."""

import ipaddress
from collections.abc import Iterator

from lightspeed.configuration.authentication import (
    ASYMMETRIC_ALGORITHMS,
    AuthenticationConfiguration,
    JwkConfiguration,
)


def authentication_warnings(configuration: AuthenticationConfiguration) -> list[str]:
    """One line for each, beginning with the key; none about modules that are not in use."""
    if configuration.module == "jwk-token" and configuration.jwk_config is not None:
        return [f"authentication.jwk_config.{line}" for line in _about_tokens(configuration.jwk_config)]
    proxy = configuration.trusted_proxy_config if configuration.module == "trusted-proxy" else None
    if proxy is not None and not proxy.allowed_service_accounts:
        return [
            "authentication.trusted_proxy_config.allowed_service_accounts: is empty; every account of the "
            "cluster may speak for every user"
        ]
    return []


def _about_tokens(settings: JwkConfiguration) -> Iterator[str]:
    if settings.url.scheme == "http" and not _is_this_machine(settings.url.host or ""):
        yield "url: is not https; whoever can change the answer on its way can make tokens"
    if settings.issuer is None:
        yield "issuer: is not set; tokens of every issuer that uses these keys are accepted"
    if not settings.audiences:
        yield "audience: is not set; tokens that were made for other services are accepted"
    if not set(settings.algorithms) <= set(ASYMMETRIC_ALGORITHMS):
        yield "algorithms: names symmetric ones; whoever can read the keys of the key server can make tokens"
    if not settings.require_expiry:
        yield "require_expiry: is off; a token without `exp` is good for ever"


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
