"""Authentication by a gateway that says who asks: the module `rh-identity`.

The header `x-rh-identity` holds base64 of
`{"identity": {"type", "org_id", "user" | "system" | "service_account": {...}, "account_number"},
"entitlements": {name: {"is_entitled": bool}}}`. Nothing signs it: only the gateway may reach the service.
"""

import base64
import json
from typing import Any

from starlette.requests import Request

from lightspeed.configuration.authentication import RHIdentityConfiguration
from lightspeed.errors import BadRequest, Forbidden, Unauthorized
from lightspeed.identity.principal import Principal
from lightspeed.identity.user_names import is_plain

HEADER = "x-rh-identity"

_CHALLENGE = {"WWW-Authenticate": HEADER}
_PEOPLE = {"User": ("user", "user_id"), "ServiceAccount": ("service_account", "client_id")}


class RHIdentityAuthentication:
    """Takes the user, the service account or the system that the gateway names."""

    credentials: str | None = HEADER

    def __init__(self, settings: RHIdentityConfiguration) -> None:
        self._required = settings.required_entitlements or ()
        self._longest = settings.max_header_size

    async def __call__(self, request: Request) -> Principal:
        headers = request.headers.getlist(HEADER)
        if not any(headers):
            raise Unauthorized("Missing x-rh-identity header", headers=_CHALLENGE)
        if max(map(len, headers)) > self._longest:
            raise BadRequest("x-rh-identity header exceeds maximum allowed size")
        if len(headers) > 1:
            raise _invalid()  # One of them may be the caller's own.
        content = _object(_content(headers[0]))
        caller = _caller(_object(content.get("identity")))
        self._check_entitlements(content.get("entitlements"))
        return caller

    async def close(self) -> None:
        """Nothing is open."""

    def _check_entitlements(self, given: Any) -> None:
        if not self._required:
            return
        entitlements = {} if given is None else _object(given)
        found = [_object(entitlements.get(name, {})).get("is_entitled") for name in self._required]
        if not all(value is True for value in found):
            raise Forbidden("Insufficient entitlements")


def _content(header: str) -> Any:
    try:
        text = base64.b64decode(header, validate=True).decode()
    except ValueError as error:
        raise BadRequest("Invalid base64 encoding in x-rh-identity header") from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest("Invalid JSON in x-rh-identity header") from error


def _caller(identity: dict[str, Any]) -> Principal:
    kind = identity.get("type")
    organization = _optional(identity.get("org_id"))
    if kind == "System":
        if not organization:
            raise _invalid()
        common_name = _text(_object(identity.get("system")).get("cn"))
        name = _optional(identity.get("account_number")) or common_name
        return Principal(common_name, name, organization_id=organization, system_id=common_name)
    if not isinstance(kind, str) or kind not in _PEOPLE:
        raise _invalid()
    block, key = _PEOPLE[kind]
    person = _object(identity.get(block))
    return Principal(_text(person.get(key)), _text(person.get("username")), organization_id=organization)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid()
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not is_plain(value):
        raise _invalid()
    return value


def _optional(value: Any) -> str:
    return "" if value is None or value == "" else _text(value)


def _invalid() -> BadRequest:
    return BadRequest("Invalid identity data")
