"""What a configuration would start, in a few lines."""

import os
from collections.abc import Iterator

from lightspeed.configuration.loading import state_directory
from lightspeed.configuration.masking import without_credentials
from lightspeed.configuration.root import Configuration
from lightspeed.configuration.service import ServiceConfiguration
from lightspeed.configuration.storage import PostgreSQLDatabaseConfiguration, SQLiteDatabaseConfiguration
from lightspeed.plan import Plan
from lightspeed.stack.run_file.tree import is_switched_on


def summary(plan: Plan) -> Iterator[tuple[str, str]]:
    """Name and value of each thing that a person would ask for. No value is a secret."""
    configuration = plan.configuration
    yield "address", _address(configuration.service)
    if configuration.llama_stack.use_as_library_client:
        yield from _embedded(plan)
    else:
        yield "stack", without_credentials(str(configuration.llama_stack.url))
    if configuration.inference.default_provider:
        default = f"{configuration.inference.default_provider}/{configuration.inference.default_model}"
        yield "default model", default
    yield "searched", _searched(configuration)
    yield (
        "database",
        _database(configuration.database.sqlite or configuration.database.postgres) or "in memory",
    )
    yield "history", _history(configuration)
    yield "authentication", configuration.authentication.module
    yield "features", ", ".join(_features(plan)) or "none"
    yield "data", str(state_directory(os.environ))


def _embedded(plan: Plan) -> Iterator[tuple[str, str]]:
    yield "models", "; ".join(_model_providers(plan)) or "none"
    models = (plan.run_configuration.get("registered_resources") or {}).get("models") or ()
    embeddings = [
        f"{model.get('provider_id')}/{model.get('provider_model_id') or model.get('model_id')}"
        for model in models
        if model.get("model_type") == "embedding"
    ]
    yield "embeddings", ", ".join(embeddings) or "none"
    yield "stores", ", ".join(sorted(plan.configured_stores)) or "none"


def _address(service: ServiceConfiguration) -> str:
    scheme = "https" if service.tls_config.tls_certificate_path else "http"
    host = f"[{service.host}]" if ":" in service.host else service.host
    processes = f", {service.workers} processes" if service.workers > 1 else ""
    return f"{scheme}://{host}:{service.port}{service.root_path}{processes}"


def _model_providers(plan: Plan) -> Iterator[str]:
    for provider in (plan.run_configuration.get("providers") or {}).get("inference") or ():
        if is_switched_on(provider):
            allowed = (provider.get("config") or {}).get("allowed_models")
            models = f": {', '.join(map(str, allowed))}" if isinstance(allowed, list) else ""
            yield f"{provider['provider_id']} ({provider.get('provider_type')}){models}"


def _searched(configuration: Configuration) -> str:
    before, by_model = ", ".join(configuration.rag.inline), ", ".join(configuration.rag.tool)
    parts = (
        f"before each question {before}" if before else "",
        f"by the model {by_model}" if by_model else "",
    )
    return "; ".join(part for part in parts if part) or "nothing"


def _database(database: SQLiteDatabaseConfiguration | PostgreSQLDatabaseConfiguration | None) -> str:
    if isinstance(database, PostgreSQLDatabaseConfiguration):
        return f"PostgreSQL {database.db} on {database.host}:{database.port}"
    return f"SQLite {database.db_path}" if database is not None else ""


def _history(configuration: Configuration) -> str:
    cache = configuration.conversation_cache
    if cache.type == "memory" and cache.memory is not None:
        return f"the newest {cache.memory.max_entries} conversations, in memory"
    if cache.type == "noop":
        return "without texts"
    return _database(cache.sqlite or cache.postgres) or "in the database"


def _features(plan: Plan) -> Iterator[str]:
    configuration = plan.configuration
    collection, quotas = configuration.user_data_collection, configuration.quota_handlers
    servers = configuration.mcp_servers
    given = {
        f"feedback in {collection.feedback_storage}": collection.feedback_enabled,
        f"transcripts in {collection.transcripts_storage}": collection.transcripts_enabled,
        "data collector": collection.data_collector.enabled,
        "retention": configuration.retention.given,
        "Offline Knowledge Portal": configuration.rag.uses_portal,
        "reranker": configuration.reranker.enabled,
        f"MCP servers {', '.join(server.name for server in servers)}": bool(servers),
        "MCP servers of users": configuration.mcp_registration.enabled,
        f"skills {', '.join(skill.name for skill in plan.skills.catalogue)}": bool(plan.skills.catalogue),
        "compaction": configuration.compaction.enabled,
        f"quotas {', '.join(limiter.name for limiter in quotas.limiters)}": bool(quotas.limiters),
        "token history": quotas.enable_token_history,
        "access rules": configuration.authorization is not None
        and bool(configuration.authorization.access_rules),
        "Azure Entra ID": configuration.azure_entra_id is not None,
        "Splunk": configuration.splunk is not None and configuration.splunk.enabled,
    }
    yield from (name for name, switched_on in given.items() if switched_on)
