"""Authentication by keys of the configuration: the module `api-key-token`."""

import hashlib
import hmac
from dataclasses import replace

from starlette.requests import Request

from lightspeed.configuration.authentication import APIKeyTokenConfiguration
from lightspeed.configuration.authorization import EVERYONE
from lightspeed.identity.authentication import GUEST
from lightspeed.identity.bearer import BEARER_HEADER, bearer_token, rejected
from lightspeed.identity.principal import Principal


class ApiKeyAuthentication:
    """Takes the caller whose key comes as the bearer token; the shared key is that of the default user."""

    credentials: str | None = BEARER_HEADER

    def __init__(self, settings: APIKeyTokenConfiguration) -> None:
        self._callers = [
            (
                _digest(entry.key.get_secret_value()),
                Principal(entry.name, entry.name, roles=_roles(entry.roles)),
            )
            for entry in settings.keys
        ]
        if settings.api_key is not None:
            self._callers.append((_digest(settings.api_key.get_secret_value()), GUEST))

    async def __call__(self, request: Request) -> Principal:
        token = bearer_token(request)
        given, found = _digest(token), None
        # All keys are compared, and digests, so that the time tells neither which key came close nor its length.
        for digest, caller in self._callers:
            if hmac.compare_digest(digest, given):
                found = caller
        if found is None:
            raise rejected("Invalid API Key")
        return replace(found, token=token)

    async def close(self) -> None:
        """Nothing is open."""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _roles(given: tuple[str, ...]) -> frozenset[str]:
    return frozenset({EVERYONE, *given})
