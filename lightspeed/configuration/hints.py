"""What is worth a warning at start, though the configuration is valid."""

from collections import Counter
from collections.abc import Collection, Iterator

from lightspeed.configuration.rag import OKP
from lightspeed.configuration.root import Configuration


def hints(configuration: Configuration, stores: Collection[str] | None = None) -> list[str]:
    """One line for each key that cannot have the effect that it seems to have. No line holds a secret.

    `stores` are the ids of the vector stores that the stack has; without them, ids in `rag` are not checked.
    """
    return [
        *_service(configuration),
        *_knowledge(configuration, stores),
        *_servers(configuration),
        *_quotas(configuration),
        *_access(configuration),
    ]


def _service(configuration: Configuration) -> Iterator[str]:
    if configuration.service.auth_enabled:
        yield "service.auth_enabled: has no effect; `authentication.module` decides"
    for model in configuration.inference.context_windows:
        if "/" not in model:
            yield f"inference.context_windows.{model}: is never used; keys have the form `provider/model`"


def _knowledge(configuration: Configuration, stack: Collection[str] | None) -> Iterator[str]:
    stores = configuration.byok_rag
    known = {
        OKP,
        *(stack or ()),
        *(store.rag_id for store in stores),
        *(store.vector_db_id for store in stores),
    }
    for kind, ids in (("inline", configuration.rag.inline), ("tool", configuration.rag.tool)):
        for position, identifier in enumerate(ids):
            if stack is not None and identifier not in known:
                yield f"rag.{kind}[{position}]: `{identifier}` is neither a `rag_id` nor a store of the stack"
    for identifier, count in Counter(store.vector_db_id for store in stores).items():
        if count > 1:
            yield f"byok_rag: {count} entries share the `vector_db_id` `{identifier}`; only the first is used"


def _servers(configuration: Configuration) -> Iterator[str]:
    module = configuration.authentication.module
    for server in configuration.mcp_servers:
        values = server.authorization_headers.values()
        if "kubernetes" in values and module not in {"k8s", "noop-with-token"}:
            yield (
                f"mcp_servers: `{server.name}` is not used; its `kubernetes` header needs the "
                "authentication module `k8s` or `noop-with-token`"
            )


def _quotas(configuration: Configuration) -> Iterator[str]:
    quotas = configuration.quota_handlers
    stored = quotas.sqlite is not None or quotas.postgres is not None
    if quotas.limiters and not stored:
        yield "quota_handlers.limiters: limit nothing without `sqlite` or `postgres`"
    if quotas.enable_token_history and not stored:
        yield "quota_handlers.enable_token_history: has no effect without `sqlite` or `postgres`"
    if configuration.rlsapi_v1.quota_subject and not (quotas.limiters and stored):
        yield "rlsapi_v1.quota_subject: has no effect without a limiter and a database in `quota_handlers`"


def _access(configuration: Configuration) -> Iterator[str]:
    authentication = configuration.authentication
    if not (configuration.authorization and configuration.authorization.access_rules):
        return
    if authentication.module == "rh-identity":
        return
    rules = authentication.jwk_config.jwt_configuration.role_rules if authentication.jwk_config else ()
    if authentication.module != "jwk-token":
        yield f"authorization.access_rules: are not used by the authentication module `{authentication.module}`"
    elif not rules:
        yield "authorization.access_rules: are not used without `role_rules` in `authentication.jwk_config`"
