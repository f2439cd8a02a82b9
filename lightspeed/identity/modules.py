"""The authentication module that the configuration names."""

from lightspeed.configuration.authentication import AuthenticationConfiguration
from lightspeed.identity.authentication import Authentication


def authentication(configuration: AuthenticationConfiguration) -> Authentication:
    """A module that nothing has been asked yet: it opens connections with the first request."""
    # Imported here: of seven modules one is used, and some need large libraries.
    match configuration.module:
        case "noop":
            from lightspeed.identity.noop import NoAuthentication

            return NoAuthentication()
        case "noop-with-token":
            from lightspeed.identity.noop_with_token import UncheckedTokenAuthentication

            return UncheckedTokenAuthentication()
        case "api-key-token":
            from lightspeed.identity.api_key import ApiKeyAuthentication

            return ApiKeyAuthentication(_block(configuration.api_key_config))
        case "jwk-token":
            from lightspeed.identity.jwk_token import JwkTokenAuthentication

            return JwkTokenAuthentication(_block(configuration.jwk_config))
        case "rh-identity":
            from lightspeed.identity.rh_identity import RHIdentityAuthentication

            return RHIdentityAuthentication(_block(configuration.rh_identity_config))
        case "k8s":
            from lightspeed.identity.kubernetes import KubernetesAuthentication

            return KubernetesAuthentication(configuration)
        case "trusted-proxy":
            from lightspeed.identity.trusted_proxy import TrustedProxyAuthentication

            return TrustedProxyAuthentication(configuration)


def _block[T](block: T | None) -> T:
    assert block is not None, "the configuration has a block for its module"
    return block
