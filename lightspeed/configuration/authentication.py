"""The section `authentication`: who is asking."""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal

from pydantic import AnyHttpUrl, Field

from lightspeed.configuration.fields import ExistingFile, PositiveInt, Secret, Text
from lightspeed.configuration.section import KeyPath, Section, repeated


class JsonPathOperator(StrEnum):
    """How the list that a JSON path finds is compared with the value."""

    EQUALS = "equals"
    CONTAINS = "contains"
    IN = "in"
    MATCH = "match"


class JwtRoleRule(Section):
    """Roles for the users whose claims fit.

    The syntax of `jsonpath` is checked by the module that compiles it, at start.
    """

    jsonpath: Text = Field(description="JSON path into the claims; it finds a list.")
    operator: JsonPathOperator = Field(description="How that list is compared.")
    negate: bool = Field(False, description="Whether the result is turned round.")
    value: Any = Field(description="What it is compared with.")
    roles: tuple[Text, ...] = Field(description="Roles that a fitting user has.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.operator is JsonPathOperator.MATCH:
            if not isinstance(self.value, str):
                yield ("value",), "must be text for the operator `match`"
            elif not _compiles(self.value):
                yield ("value",), "must be a valid regular expression for the operator `match`"
        if self.operator is JsonPathOperator.IN and not isinstance(self.value, list):
            yield ("value",), "must be a list for the operator `in`"
        if not self.roles:
            yield ("roles",), "must not be empty"
        for position in repeated(list(self.roles)):
            yield ("roles", position), "is given twice"
        for position, role in enumerate(self.roles):
            if role == "*":
                yield ("roles", position), "`*` is everyone's role and cannot be given by a rule"


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


class JwtConfiguration(Section):
    """Which claims of a token name the user and the roles."""

    user_id_claim: Text = Field("user_id", description="Claim that holds the user's id.")
    username_claim: Text = Field("username", description="Claim that holds the user's name.")
    role_rules: tuple[JwtRoleRule, ...] = Field((), description="Rules that give roles.")


class JwkConfiguration(Section):
    """Tokens signed by keys of a key server."""

    url: AnyHttpUrl = Field(description="Address of the JSON Web Key Set.")
    jwt_configuration: JwtConfiguration = Field(JwtConfiguration(), description="Claims.")


class APIKeyTokenConfiguration(Section):
    """One key that all callers share."""

    api_key: Secret = Field(description="The key.")


class RHIdentityConfiguration(Section):
    """The header `x-rh-identity`."""

    required_entitlements: tuple[Text, ...] | None = Field(None, description="Entitlements a caller needs.")
    max_header_size: PositiveInt = Field(8192, description="Longest header, characters.")


class AuthenticationConfiguration(Section):
    """The module that identifies callers, and its block."""

    module: Literal["k8s", "noop", "noop-with-token", "api-key-token", "jwk-token", "rh-identity"] = Field(
        "noop", description="How callers are identified."
    )
    skip_tls_verification: bool = Field(False, description="`k8s`: do not check the API's certificate.")
    skip_for_health_probes: bool = Field(False, description="Probes need no credentials.")
    skip_for_metrics: bool = Field(False, description="Metrics need no credentials.")
    k8s_cluster_api: AnyHttpUrl | None = Field(None, description="`k8s`: address of the API.")
    k8s_ca_cert_path: ExistingFile | None = Field(
        None, description="`k8s`: certificates of the API's signer."
    )
    jwk_config: JwkConfiguration | None = Field(None, description="For the module `jwk-token`.")
    api_key_config: APIKeyTokenConfiguration | None = Field(None, description="For `api-key-token`.")
    rh_identity_config: RHIdentityConfiguration | None = Field(None, description="For `rh-identity`.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        blocks = {
            "jwk-token": "jwk_config",
            "api-key-token": "api_key_config",
            "rh-identity": "rh_identity_config",
        }
        key = blocks.get(self.module)
        if key and getattr(self, key) is None:
            yield (key,), f"is required by the module `{self.module}`"
