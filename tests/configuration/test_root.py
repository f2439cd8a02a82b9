"""The keys of the configuration file: their defaults, their order, and a file that sets them all."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from lightspeed.configuration.loading import load_configuration
from lightspeed.configuration.messages import section_of
from lightspeed.configuration.root import Configuration
from lightspeed.identity.actions import Action
from tests.configuration.complete import complete_file

MINIMAL = {
    "name": "n",
    "service": {},
    "llama_stack": {"url": "http://stack:8321"},
    "user_data_collection": {},
}

DEFAULTS: dict[str, Any] = {
    "name": "n",
    "service": {
        "host": "localhost",
        "port": 8080,
        "base_url": None,
        "auth_enabled": False,
        "workers": 1,
        "color_log": True,
        "log_format": "text",
        "access_log": True,
        "tls_config": {"tls_certificate_path": None, "tls_key_path": None, "tls_key_password": None},
        "root_path": "",
        "cors": {
            "allow_origins": ["*"],
            "allow_credentials": False,
            "allow_methods": ["*"],
            "allow_headers": ["*"],
        },
        "heartbeat_seconds": 20,
        "limits": {
            "max_body_bytes": 20971520,
            "max_query_characters": 200000,
            "max_attachments": 20,
            "max_attachment_characters": 2000000,
            "max_tool_rounds": 10,
            "turn_timeout_seconds": 600,
            "requests_per_minute": 0,
            "max_concurrent_turns": 0,
            "max_concurrent_turns_per_user": 0,
        },
    },
    "llama_stack": {
        "url": "http://stack:8321/",
        "api_key": None,
        "use_as_library_client": False,
        "library_client_config_path": None,
        "config": None,
        "timeout": 180,
        "max_retries": 5,
        "retry_delay": 2,
        "allow_degraded_mode": False,
    },
    "user_data_collection": {
        "feedback_enabled": False,
        "feedback_storage": None,
        "transcripts_enabled": False,
        "transcripts_storage": None,
        "data_collector": {
            "enabled": False,
            "ingress_server_url": None,
            "ingress_server_auth_token": None,
            "ingress_content_service_name": None,
            "collection_interval": 7200,
            "cleanup_after_send": True,
            "connection_timeout": 30,
        },
    },
    "database": {"sqlite": None, "postgres": None},
    "retention": {"conversations_days": None, "transcripts_days": None, "feedback_days": None},
    "mcp_servers": [],
    "mcp_registration": {
        "enabled": False,
        "allowed_hosts": [],
        "allow_private": False,
        "max_servers_per_user": 20,
    },
    "authentication": {
        "module": "noop",
        "skip_tls_verification": False,
        "skip_for_health_probes": False,
        "skip_for_metrics": False,
        "k8s_cluster_api": None,
        "k8s_ca_cert_path": None,
        "k8s_review_cache_seconds": 10,
        "k8s_timeout_seconds": 10,
        "jwk_config": None,
        "api_key_config": None,
        "rh_identity_config": None,
        "trusted_proxy_config": None,
    },
    "authorization": None,
    "customization": None,
    "inference": {"default_model": None, "default_provider": None, "context_windows": {}, "providers": []},
    "conversation_cache": {"type": None, "memory": None, "sqlite": None, "postgres": None},
    "compaction": {
        "enabled": False,
        "threshold_ratio": 0.7,
        "token_floor": 4096,
        "buffer_turns": 4,
        "buffer_max_ratio": 0.3,
    },
    "approvals": {"approval_timeout_seconds": 300, "approval_retention_days": 30},
    "byok_rag": [],
    "a2a_state": {"sqlite": None, "postgres": None},
    "quota_handlers": {
        "sqlite": None,
        "postgres": None,
        "limiters": [],
        "scheduler": {
            "period": 1,
            "database_reconnection_count": 10,
            "database_reconnection_delay": 1,
        },
        "enable_token_history": False,
    },
    "azure_entra_id": None,
    "rlsapi_v1": {"allow_verbose_infer": False, "quota_subject": None},
    "splunk": None,
    "deployment_environment": "development",
    "rag": {
        "inline": [],
        "tool": [],
        "max_chunks": 10,
        "max_tokens": 8000,
        "neighbours": 0,
        "max_seconds": 20.0,
    },
    "okp": {"rhokp_url": None, "offline": True, "chunk_filter_query": None},
    "reranker": {"enabled": False, "model": "cross-encoder/ms-marco-MiniLM-L6-v2"},
    "skills": None,
    "saved_prompts": {
        "max_prompts_per_user": 50,
        "max_display_name_length": 255,
        "max_content_length": 10000,
    },
}

# Sections that are absent by default: the least that each needs, and what it becomes.
AUTHENTICATION = {
    "module": "noop",
    "jwk_config": {"url": "https://keys/jwks"},
    "api_key_config": {"keys": [{"name": "ci", "key": "k"}]},
    "rh_identity_config": {},
    "trusted_proxy_config": {},
}

SECTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"authentication": AUTHENTICATION},
        DEFAULTS["authentication"]
        | {
            "jwk_config": {
                "url": "https://keys/jwks",
                "jwt_configuration": {
                    "user_id_claim": "user_id",
                    "username_claim": "username",
                    "role_rules": [],
                },
                "issuer": None,
                "audience": None,
                "algorithms": [
                    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
                    *("ES256", "ES384", "ES512", "ES256K", "EdDSA"),
                ],
                "leeway_seconds": 5,
                "require_expiry": True,
                "ca_cert_path": None,
                "timeout_seconds": 5,
                "keys_cache_seconds": 3600,
                "keys_stale_seconds": 86400,
            },
            "api_key_config": {
                "api_key": None,
                "keys": [{"name": "ci", "key": "**********", "roles": []}],
            },
            "rh_identity_config": {"required_entitlements": None, "max_header_size": 8192},
            "trusted_proxy_config": {"user_header": "X-Forwarded-User", "allowed_service_accounts": None},
        },
    ),
    ({"authorization": {}}, {"access_rules": []}),
    ({"skills": {}}, {"paths": [], "max_skills": 100, "max_files": 100, "max_file_bytes": 100000}),
    (
        {"customization": {}},
        {
            "profile_path": None,
            "disable_query_system_prompt": False,
            "disable_shield_ids_override": False,
            "system_prompt_path": None,
            "system_prompt": None,
            "agent_card_path": None,
            "agent_card_config": None,
            "custom_profile": None,
        },
    ),
    (
        {"splunk": {}},
        {
            "enabled": False,
            "url": None,
            "token_path": None,
            "index": None,
            "source": "lightspeed-stack",
            "timeout": 5,
            "verify_ssl": True,
        },
    ),
    (
        {"azure_entra_id": {"tenant_id": "t", "client_id": "c", "client_secret": "s"}},
        {
            "tenant_id": "**********",
            "client_id": "**********",
            "client_secret": "**********",
            "scope": "https://cognitiveservices.azure.com/.default",
            "authority": "https://login.microsoftonline.com",
        },
    ),
    (
        {"inference": {"providers": [{"type": "vllm_rhaiis"}]}},
        {
            "default_model": None,
            "default_provider": None,
            "context_windows": {},
            "providers": [
                {
                    "type": "vllm_rhaiis",
                    "id": None,
                    "api_key_env": None,
                    "api_key": None,
                    "base_url": None,
                    "allowed_models": None,
                    "extra": {},
                }
            ],
        },
    ),
    (
        {"mcp_servers": [{"name": "a", "url": "http://a"}]},
        [
            {
                "name": "a",
                "provider_id": "model-context-protocol",
                "url": "http://a",
                "authorization_headers": {},
                "headers": [],
                "require_approval": "never",
                "timeout": None,
                "max_result_characters": 100_000,
                "tool_list_seconds": 300,
            }
        ],
    ),
    (
        {"byok_rag": [{"rag_id": "r", "vector_db_id": "v", "db_path": "d"}]},
        [
            {
                "rag_id": "r",
                "rag_type": "inline::faiss",
                "embedding_model": "sentence-transformers/all-mpnet-base-v2",
                "embedding_dimension": 768,
                "vector_db_id": "v",
                "db_path": "d",
                "score_multiplier": 1.0,
            }
        ],
    ),
    (
        {"database": {"postgres": {"db": "d", "user": "u", "password": "p"}}},
        {
            "sqlite": None,
            "postgres": {
                "host": "localhost",
                "port": 5432,
                "db": "d",
                "user": "u",
                "password": "**********",
                "namespace": "public",
                "ssl_mode": "prefer",
                "gss_encmode": "prefer",
                "ca_cert_path": None,
            },
        },
    ),
]


def unset_keys(model: BaseModel, path: str = "") -> list[str]:
    """The keys below a model that no file set."""
    found = [path + name for name in type(model).model_fields if name not in model.model_fields_set]
    for name in model.model_fields_set:
        value = getattr(model, name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, BaseModel):
                found += unset_keys(item, f"{path}{name}.")
    return found


def flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {key: item for name in value for key, item in flat(value[name], f"{path}.{name}").items()}
    return {path: value}


@pytest.mark.parametrize(("key", "default"), flat(DEFAULTS).items())
def test_the_default_of(key: str, default: object) -> None:
    dump = flat(Configuration.model_validate(MINIMAL).model_dump(mode="json"))
    assert key in dump
    assert dump[key] == default


def test_a_dump_has_these_keys_in_this_order() -> None:
    dump = Configuration.model_validate(MINIMAL).model_dump(mode="json")
    assert list(flat(dump)) == list(flat(DEFAULTS))


@pytest.mark.parametrize(
    ("given", "expected"), SECTIONS, ids=lambda value: next(iter(value)) if value else ""
)
def test_the_defaults_of_a_section_that_is_given(given: dict[str, Any], expected: object) -> None:
    dump = Configuration.model_validate(MINIMAL | given).model_dump(mode="json")
    (section,) = given
    assert dump[section] == expected
    assert flat(dump[section]).keys() == flat(expected).keys()


def test_a_file_that_sets_every_key(tmp_path: Path) -> None:
    configuration = load_configuration(complete_file(tmp_path), {})
    missing = {"database.sqlite", "a2a_state.postgres", "quota_handlers.postgres"}
    missing |= {"conversation_cache.memory", "conversation_cache.sqlite", "customization.custom_profile"}
    # Only without a run.yaml.
    missing |= {"llama_stack.config", "inference.providers"}
    missing |= {"authentication.jwk_config.jwt_configuration.role_rules.negate"}
    assert set(unset_keys(configuration)) == missing


def test_values_become_what_their_keys_say(tmp_path: Path) -> None:
    configuration = load_configuration(complete_file(tmp_path), {})
    assert configuration.service.port == 8443
    assert configuration.inference.context_windows == {"p/m": 4096}
    assert configuration.byok_rag[0].db_path == Path("~/d").expanduser()
    assert configuration.authorization is not None
    assert configuration.authorization.access_rules[1].actions == (Action.ADMIN,)
    assert configuration.quota_handlers.limiters[0].period_length.days == 1
    assert configuration.okp.base_url == "https://okp.example"


def test_files_of_the_customization_are_read(tmp_path: Path) -> None:
    customization = load_configuration(complete_file(tmp_path), {}).customization
    assert customization is not None
    assert customization.system_prompt == "You know Widgets."
    assert customization.agent_card_config == {"name": "Widget assistant"}
    assert customization.custom_profile is not None
    assert customization.custom_profile.prompts == {"default": "You know Widgets well."}


def test_every_section_is_frozen_and_strict() -> None:
    pending: list[type[BaseModel]] = [Configuration]
    seen: set[type[BaseModel]] = set()
    while pending:
        model = pending.pop()
        seen.add(model)
        assert model.model_config["frozen"]
        assert model.model_config["extra"] == "forbid"
        below = {found for field in model.model_fields.values() if (found := section_of(field.annotation))}
        pending += below - seen
    assert len(seen) > 35
    configuration = Configuration.model_validate(MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        configuration.service.port = 1  # type: ignore[misc]


def test_every_key_is_described_in_the_schema() -> None:
    schema = Configuration.model_json_schema()
    for name, section in [("Configuration", schema), *schema["$defs"].items()]:
        for key, description in section.get("properties", {}).items():
            target = schema["$defs"][description["$ref"].rsplit("/")[-1]] if "$ref" in description else {}
            assert (target | description).get("description"), f"{name}.{key}"


STORE = {"rag_id": "r", "vector_db_id": "v", "db_path": "d"}


@pytest.mark.parametrize(
    ("given", "enabled"),
    [
        ({"byok_rag": [STORE], "rag": {"inline": ["okp"]}}, True),
        ({"byok_rag": [STORE], "rag": {"inline": ["okp"]}, "reranker": {}}, True),
        ({"byok_rag": [STORE], "rag": {"inline": ["okp"]}, "reranker": {"enabled": False}}, False),
        ({"byok_rag": [STORE], "rag": {"inline": ["okp"]}, "reranker": {"model": "m"}}, False),
        ({"byok_rag": [STORE], "rag": {"tool": ["okp"]}}, False),
        ({"rag": {"inline": ["okp"]}}, False),
    ],
)
def test_when_the_reranker_is_on_by_itself(given: dict[str, Any], enabled: bool) -> None:
    assert Configuration.model_validate(MINIMAL | given).reranker.enabled is enabled


def test_the_portal_has_a_default_address() -> None:
    assert Configuration.model_validate(MINIMAL).okp.base_url == "http://localhost:8081"


def test_actions_are_known_by_their_names() -> None:
    assert len(Action) == 41
    assert all(action.name.lower() == action.value for action in Action)
