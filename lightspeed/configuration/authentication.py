"""The section `authentication`: who is asking."""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AnyHttpUrl, BeforeValidator, Field

from lightspeed.configuration.fields import ExistingFile, NonNegativeInt, PositiveInt, Secret, Text
from lightspeed.configuration.section import KeyPath, Section, repeated

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SENDABLE = re.compile(r"[!-~]+")
_NOT_SENDABLE = "must be visible ASCII characters without blanks, or no header can hold it"
_LONGEST_NAME = 256


def _one_as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Roles = tuple[Text, ...]
Texts = Annotated[
    tuple[Text, ...], BeforeValidator(_one_as_list, json_schema_input_type=Text | tuple[Text, ...])
]
"""A list, or the text of its only entry."""

SigningAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "ES256K", "EdDSA",
    "HS256", "HS384", "HS512",
]  # fmt: skip
ASYMMETRIC_ALGORITHMS: tuple[SigningAlgorithm, ...] = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "ES256K", "EdDSA",
)  # fmt: skip
"""All signatures whose keys may be public."""


class JsonPathOperator(StrEnum):
    """How the list that a JSON path finds is compared with the value."""

    EQUALS = "equals"
    CONTAINS = "contains"
    IN = "in"
    MATCH = "match"


class JwtRoleRule(Section):
    """Roles for the users whose claims fit."""

    jsonpath: Text = Field(description="JSON path into the claims; it finds a list.")
    operator: JsonPathOperator = Field(description="How that list is compared.")
    negate: bool = Field(
        False, description="Whether the result is turned round. Claims that the path does not find never fit."
    )
    value: Any = Field(description="What it is compared with.")
    roles: Roles = Field(description="Roles that a fitting user has.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if not _is_json_path(self.jsonpath):
            yield ("jsonpath",), "is not a JSON path"
        if self.operator is JsonPathOperator.MATCH:
            if not isinstance(self.value, str):
                yield ("value",), "must be text for the operator `match`"
            elif not _compiles(self.value):
                yield ("value",), "must be a valid regular expression for the operator `match`"
        if self.operator is JsonPathOperator.IN and not isinstance(self.value, list):
            yield ("value",), "must be a list for the operator `in`"
        if not self.roles:
            yield ("roles",), "must not be empty"
        yield from _role_problems(self.roles)


def _role_problems(roles: Roles) -> Iterator[tuple[KeyPath, str]]:
    for position in repeated(list(roles)):
        yield ("roles", position), "is given twice"
    for position, role in enumerate(roles):
        if role == "*":
            yield ("roles", position), "`*` is everyone's role and cannot be given by a rule"


def _is_json_path(path: str) -> bool:
    # Imported here, because few files have such rules and every start would wait for it.
    from jsonpath_ng.parser import parse

    try:
        parse(path)
    except Exception:  # The parser raises errors of its own and of the library below it.
        return False
    return True


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
    """Tokens signed by keys of a key server.

    A symmetric key verifies tokens only where `algorithms` names an `HS` algorithm, and whoever can read the
    key server's answer can then make tokens.
    """

    url: AnyHttpUrl = Field(description="Address of the JSON Web Key Set.")
    jwt_configuration: JwtConfiguration = Field(JwtConfiguration(), description="Claims.")
    issuer: Text | None = Field(
        None, description="The claim `iss` that a token must have; null: not checked."
    )
    audience: Texts | None = Field(
        None, description="One of these must be in the claim `aud`; null: not checked."
    )
    algorithms: tuple[SigningAlgorithm, ...] = Field(
        ASYMMETRIC_ALGORITHMS, description="Signatures that are accepted."
    )
    leeway_seconds: NonNegativeInt = Field(
        5, description="How far the clocks of issuer and service may differ."
    )
    require_expiry: bool = Field(True, description="Whether a token must say when it expires.")
    ca_cert_path: ExistingFile | None = Field(
        None, description="Certificates of the key server's signer; null: the usual ones."
    )
    timeout_seconds: PositiveInt = Field(5, description="Longest wait for the key server.")
    keys_cache_seconds: PositiveInt = Field(
        3600, description="How long keys are used before they are read anew."
    )
    keys_stale_seconds: NonNegativeInt = Field(
        86400, description="How much longer they are used while the key server is away."
    )

    @property
    def audiences(self) -> frozenset[str]:
        """What `aud` is searched for; empty where it is not checked."""
        return frozenset(self.audience or ())

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.audience == ():
            yield ("audience",), "must not be empty"
        if not self.algorithms:
            yield ("algorithms",), "must not be empty"
        for position in repeated(list(self.algorithms)):
            yield ("algorithms", position), "is given twice"


class NamedApiKey(Section):
    """One key of one caller."""

    name: Text = Field(description="The caller; its user id and user name.")
    key: Secret = Field(description="The key.")
    roles: Roles = Field((), description="Roles of the caller, besides `*`.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if not self.name.strip() or len(self.name) > _LONGEST_NAME or not self.name.isprintable():
            yield (
                ("name",),
                f"must be at most {_LONGEST_NAME} printable characters, and not blank",
            )
        if not _SENDABLE.fullmatch(self.key.get_secret_value()):
            yield ("key",), _NOT_SENDABLE
        yield from _role_problems(self.roles)


class APIKeyTokenConfiguration(Section):
    """One key that all callers share, or a key for each caller, or both."""

    api_key: Secret | None = Field(None, description="The key that callers without a name share.")
    keys: tuple[NamedApiKey, ...] = Field((), description="Keys of callers with a name.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.api_key is None and not self.keys:
            yield ("api_key",), "is required, here or as an entry of `keys`"
        if self.api_key is not None and not _SENDABLE.fullmatch(self.api_key.get_secret_value()):
            yield ("api_key",), _NOT_SENDABLE
        for position in repeated([entry.name for entry in self.keys]):
            yield ("keys", position, "name"), "is the name of another key too"
        shared = [] if self.api_key is None else [self.api_key.get_secret_value()]
        for position in repeated([*shared, *(entry.key.get_secret_value() for entry in self.keys)]):
            yield ("keys", position - len(shared), "key"), "is given twice"


class RHIdentityConfiguration(Section):
    """The header `x-rh-identity`."""

    required_entitlements: tuple[Text, ...] | None = Field(None, description="Entitlements a caller needs.")
    max_header_size: PositiveInt = Field(8192, description="Longest header, characters.")


class ServiceAccount(Section):
    """One service account of the cluster."""

    namespace: Text = Field(description="Its namespace.")
    name: Text = Field(description="Its name.")


class TrustedProxyConfiguration(Section):
    """A proxy that has identified the user and says who it is."""

    user_header: Text = Field("X-Forwarded-User", description="Header that names the user.")
    allowed_service_accounts: tuple[ServiceAccount, ...] | None = Field(
        None, description="Accounts a proxy may have; null or an empty list: any."
    )

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if not _HEADER.fullmatch(self.user_header):
            yield ("user_header",), "is not the name of a header"


class AuthenticationConfiguration(Section):
    """The module that identifies callers, and its block."""

    module: Literal[
        "k8s", "noop", "noop-with-token", "api-key-token", "jwk-token", "rh-identity", "trusted-proxy"
    ] = Field("noop", description="How callers are identified.")
    skip_tls_verification: bool = Field(False, description="`k8s`: do not check the API's certificate.")
    skip_for_health_probes: bool = Field(False, description="Probes need no credentials.")
    skip_for_metrics: bool = Field(False, description="Metrics need no credentials.")
    k8s_cluster_api: AnyHttpUrl | None = Field(None, description="`k8s`: address of the API.")
    k8s_ca_cert_path: ExistingFile | None = Field(
        None, description="`k8s`: certificates of the API's signer."
    )
    k8s_review_cache_seconds: NonNegativeInt = Field(
        10,
        description="`k8s`, `trusted-proxy`: how long an answer of the API about a token is kept; 0: not at all.",
    )
    k8s_timeout_seconds: PositiveInt = Field(
        10, description="`k8s`, `trusted-proxy`: longest wait for the API."
    )
    jwk_config: JwkConfiguration | None = Field(None, description="For the module `jwk-token`.")
    api_key_config: APIKeyTokenConfiguration | None = Field(None, description="For `api-key-token`.")
    rh_identity_config: RHIdentityConfiguration | None = Field(None, description="For `rh-identity`.")
    trusted_proxy_config: TrustedProxyConfiguration | None = Field(None, description="For `trusted-proxy`.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        blocks = {
            "jwk-token": "jwk_config",
            "api-key-token": "api_key_config",
            "rh-identity": "rh_identity_config",
            "trusted-proxy": "trusted_proxy_config",
        }
        key = blocks.get(self.module)
        if key and getattr(self, key) is None:
            yield (key,), f"is required by the module `{self.module}`"
