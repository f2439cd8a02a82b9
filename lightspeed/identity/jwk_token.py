"""Authentication by signed tokens (JSON Web Tokens): the module `jwk-token`."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from lightspeed.configuration.authentication import JwkConfiguration
from lightspeed.configuration.authorization import EVERYONE
from lightspeed.errors import Unauthorized
from lightspeed.identity.bearer import BEARER_HEADER, bearer_token, rejected
from lightspeed.identity.key_server import KeyServer
from lightspeed.identity.principal import Principal
from lightspeed.identity.signed_token import SignedToken
from lightspeed.identity.token_claims import check_validity, user_claim

if TYPE_CHECKING:
    from lightspeed.identity.key_set import Key
    from lightspeed.identity.role_rules import RoleRules


class JwkTokenAuthentication:
    """Takes the user whom the claims of a token name that a key of the key server has signed."""

    credentials: str | None = BEARER_HEADER

    def __init__(
        self,
        settings: JwkConfiguration,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`clock` tells seconds that never go back, for the keys; `now` those since 1970, for the tokens."""
        self._settings = settings
        self._claims = settings.jwt_configuration
        self._algorithms = frozenset(settings.algorithms)
        self._key_server = KeyServer(settings, clock)
        self._now = now
        self._rules = _rules(settings)

    async def __call__(self, request: Request) -> Principal:
        text = bearer_token(request)
        token = SignedToken.read(text, self._algorithms)
        claims = await self._signed_claims(token)
        check_validity(claims, self._settings, self._now())
        user_id = user_claim(claims, self._claims.user_id_claim)
        username = user_claim(claims, self._claims.username_claim, may_be_empty=True)
        roles = self._rules.roles(claims) if self._rules else frozenset()
        return Principal(user_id, username, token=text, roles=roles | {EVERYONE})

    async def close(self) -> None:
        await self._key_server.close()

    async def _signed_claims(self, token: SignedToken) -> dict[str, Any]:
        keys = await self._key_server.keys()
        key = keys.key(token)
        if key is None:
            return _known((await self._key_server.keys_after(keys)).key(token)).claims(token)
        try:
            return key.claims(token)
        except Unauthorized:
            if token.key_id is not None:
                raise
            # Without key ids, a new key shows in nothing but a signature that does not fit.
            newer = await self._key_server.keys_after(keys)
            if newer is keys:
                raise
            return _known(newer.key(token)).claims(token)


def _known(key: "Key | None") -> "Key":
    if key is None:
        raise rejected("Token signed by unknown key")
    return key


def _rules(settings: JwkConfiguration) -> "RoleRules | None":
    if not settings.jwt_configuration.role_rules:
        return None
    from lightspeed.identity.role_rules import RoleRules

    return RoleRules(settings.jwt_configuration.role_rules)
