"""What is worth a warning at start, though the configuration is valid."""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from lightspeed.configuration.mcp import FROM_CALLER
from lightspeed.configuration.rag import OKP
from lightspeed.configuration.root import Configuration

_ORIGIN = re.compile(r"(?:null|[a-z][a-z0-9+.-]*://[^/\s?#@]+)", re.IGNORECASE)


def hints(configuration: Configuration, stores: Collection[str] | None = None) -> list[str]:
    """One line for each key that cannot have the effect that it seems to have. No line holds a secret.

    `stores` are the ids of the vector stores that the stack has; without them, ids in `rag` are not checked.
    Secret files of MCP servers are looked at, but not read.
    """
    return [
        *_service(configuration),
        *_stack(configuration),
        *_prompts(configuration),
        *_knowledge(configuration, stores),
        *_servers(configuration),
        *_quotas(configuration),
        *_identity(configuration),
        *_access(configuration),
    ]


def _service(configuration: Configuration) -> Iterator[str]:
    if configuration.service.auth_enabled:
        yield "service.auth_enabled: has no effect; `authentication.module` decides"
    for position, origin in enumerate(configuration.service.cors.allow_origins):
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            yield (
                f"service.cors.allow_origins[{position}]: no page has this origin;"
                " write it as `https://www.example.com`, with nothing behind the host or port"
            )
    for model in configuration.inference.context_windows:
        if "/" not in model:
            yield f"inference.context_windows.{model}: is never used; keys have the form `provider/model`"


def _stack(configuration: Configuration) -> Iterator[str]:
    stack = configuration.llama_stack
    for key in ("url", "api_key"):
        if stack.use_as_library_client and getattr(stack, key) is not None:
            yield f"llama_stack.{key}: has no effect, because `use_as_library_client` is true"
    elsewhere = "has no effect, because the stack runs elsewhere"
    if not stack.use_as_library_client and stack.library_client_config_path is not None:
        yield f"llama_stack.library_client_config_path: {elsewhere}"
    if not stack.use_as_library_client and configuration.inference.providers:
        yield f"inference.providers: {elsewhere}"
    if stack.config is not None and stack.config.profile and "baseline" in stack.config.model_fields_set:
        yield "llama_stack.config.baseline: has no effect beside `profile`"


def _prompts(configuration: Configuration) -> Iterator[str]:
    customization = configuration.customization
    if customization is None:
        return
    given = customization.model_fields_set
    for key, winner in (("system_prompt", "system_prompt_path"), ("agent_card_config", "agent_card_path")):
        if {key, winner} <= given and getattr(customization, winner) is not None:
            yield f"customization.{key}: has no effect beside `{winner}`"
    profile = customization.custom_profile
    if profile is not None and "default" in profile.prompts:
        for key in sorted({"system_prompt", "system_prompt_path"} & given):
            yield f"customization.{key}: has no effect; the profile has a prompt `default`"


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
        for identifier, count in Counter(ids).items():
            if count > 1:
                yield f"rag.{kind}: `{identifier}` is listed {count} times; once is enough"
    searched = {*configuration.rag.inline, *configuration.rag.tool}
    if configuration.okp.model_fields_set and OKP not in searched:
        yield "okp: has no effect while `okp` is neither in `rag.inline` nor in `rag.tool`"
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
        for header, value in server.authorization_headers.items():
            if value not in FROM_CALLER and not _holds_something(Path(value).expanduser()):
                yield (
                    f"mcp_servers: `{server.name}` is not used; the file of its header `{header}`"
                    " is missing or empty"
                )


def _quotas(configuration: Configuration) -> Iterator[str]:
    quotas = configuration.quota_handlers
    if configuration.rlsapi_v1.quota_subject and not (quotas.limiters or quotas.enable_token_history):
        yield "rlsapi_v1.quota_subject: has no effect without limiters or token history in `quota_handlers`"


def _identity(configuration: Configuration) -> Iterator[str]:
    authentication = configuration.authentication
    cluster = ("k8s", "trusted-proxy")
    blocks = {
        "jwk_config": ("jwk-token",),
        "api_key_config": ("api-key-token",),
        "rh_identity_config": ("rh-identity",),
        "trusted_proxy_config": ("trusted-proxy",),
        "k8s_cluster_api": cluster,
        "k8s_ca_cert_path": cluster,
        "skip_tls_verification": cluster,
    }
    for key, modules in blocks.items():
        if getattr(authentication, key) and authentication.module not in modules:
            wanted = "` or `".join(modules)
            yield f"authentication.{key}: has no effect; the module is `{authentication.module}`, not `{wanted}`"
    for key in ("skip_for_health_probes", "skip_for_metrics"):
        if getattr(authentication, key) and authentication.module in {"noop", "noop-with-token"}:
            yield f"authentication.{key}: has no effect with the module `{authentication.module}`"


def _access(configuration: Configuration) -> Iterator[str]:
    """Probes without credentials have the role of everyone only."""
    authentication, authorization = configuration.authentication, configuration.authorization
    if authorization is None or not authorization.access_rules:
        return
    open_to_all = authentication.module == "noop"
    for switch, action, paths in (
        (authentication.skip_for_health_probes, "info", "/liveness and /readiness"),
        (authentication.skip_for_metrics, "get_metrics", "/metrics"),
    ):
        if (switch or open_to_all) and not authorization.grants_everyone(action):
            yield f"authorization.access_rules: without `{action}` for `*`, {paths} answer 403"


def _holds_something(file: Path) -> bool:
    try:
        return file.is_file() and file.stat().st_size > 0
    except OSError:
        return False
