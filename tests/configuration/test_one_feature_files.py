"""Files of the kind that lightspeed-stack ships as examples, one feature each: all of them load."""

from pathlib import Path

import pytest

from lightspeed.configuration.loading import load_configuration

BASE = """
name: Lightspeed Core Service (LCS)
service: {host: 0.0.0.0, port: 8080, auth_enabled: false, workers: 1, color_log: true, access_log: true}
user_data_collection:
  feedback_enabled: true
  feedback_storage: "FOLDER/feedback"
  transcripts_enabled: true
  transcripts_storage: "FOLDER/transcripts"
"""
LIBRARY = """
llama_stack: {use_as_library_client: true, library_client_config_path: FOLDER/run.yaml}
"""
SERVER = """
llama_stack: {use_as_library_client: false, url: "http://llama-stack:8321", api_key: xyzzy}
"""
POSTGRES = (
    "{host: db, port: 5432, db: lightspeed, user: lcs, password: '${env.PASSWORD}', gss_encmode: disable}"
)

FILES = {
    "lls-library": LIBRARY + "authentication: {module: noop}\n",
    "lls-external": SERVER + "authentication: {module: noop}\n",
    "azure-entraid-service": SERVER
    + """
azure_entra_id: {tenant_id: "${env.TENANT_ID}", client_id: "${env.CLIENT_ID}", client_secret: "${env.CLIENT_SECRET}"}
""",
    "azure-entraid-lib": LIBRARY
    + """
azure_entra_id: {tenant_id: "${env.TENANT_ID}", client_id: "${env.CLIENT_ID}", client_secret: "${env.CLIENT_SECRET}"}
inference: {default_provider: azure, default_model: gpt-4o-mini}
""",
    "mcp-servers": SERVER
    + """
mcp_servers:
- {name: "server1", provider_id: "model-context-protocol", url: "http://mcp.example.com:3000"}
- name: "server2"
  url: "https://mcp.example.com/mcp"
  authorization_headers: {Authorization: "FOLDER/token", X-User: client}
""",
    "byok-okp-rag": LIBRARY
    + """
byok_rag:
- rag_id: ocp-docs
  rag_type: inline::faiss
  embedding_model: sentence-transformers/all-mpnet-base-v2
  embedding_dimension: 768
  vector_db_id: vs_123
  db_path: "${env.BYOK_DB}"
  score_multiplier: 1.0
rag: {inline: [ocp-docs, okp], tool: [ocp-docs]}
okp: {rhokp_url: "${env.RHOKP_URL:=http://localhost:8081}", offline: true, chunk_filter_query: "product:*openshift*"}
""",
    "skills": LIBRARY + "skills: {paths: [FOLDER]}\n",
    "conversation-cache-pg": LIBRARY + f"conversation_cache: {{type: postgres, postgres: {POSTGRES}}}\n",
    "conversation-cache-sqlite": LIBRARY
    + "conversation_cache: {type: sqlite, sqlite: {db_path: FOLDER/cache.db}}\n",
    "quota-limiter-pg": LIBRARY
    + f"""
quota_handlers:
  postgres: {POSTGRES}
  limiters:
  - {{name: user_monthly_limits, type: user_limiter, initial_quota: 100000, quota_increase: 10, period: "1 month"}}
  - {{name: cluster_monthly_limits, type: cluster_limiter, initial_quota: 10, quota_increase: 10, period: "1 month"}}
  scheduler: {{period: 1}}
""",
    "quota-limiter-sqlite": LIBRARY
    + """
quota_handlers:
  sqlite: {db_path: FOLDER/quota.db}
  limiters:
  - {name: user_daily_limits, type: user_limiter, initial_quota: 1000, quota_increase: 10, period: "5 minutes"}
  scheduler: {period: 1, database_reconnection_count: 10, database_reconnection_delay: 1}
  enable_token_history: true
""",
    "a2a-state-pg": LIBRARY + f"a2a_state: {{postgres: {POSTGRES}}}\n",
    "a2a-state-sqlite": LIBRARY + "a2a_state: {sqlite: {db_path: FOLDER/a2a.db}}\n",
    "api-key-auth": LIBRARY
    + """
authentication: {module: api-key-token, api_key_config: {api_key: "${env.API_KEY}"}}
authorization: {access_rules: [{role: "*", actions: [query, streaming_query, info, get_models]}]}
""",
    "rh-identity": LIBRARY
    + """
authentication: {module: rh-identity, rh_identity_config: {required_entitlements: [rhel]}}
""",
    "rlsapi-cla": LIBRARY
    + """
authentication: {module: rh-identity, rh_identity_config: {}}
rlsapi_v1: {allow_verbose_infer: true, quota_subject: org_id}
customization: {system_prompt: "You are an expert."}
splunk: {enabled: true, url: "https://splunk.example.com:8088/services/collector", token_path: FOLDER/token, index: rhel}
deployment_environment: production
""",
}
VARIABLES = {
    "PASSWORD": "12345",
    "TENANT_ID": "tenant",
    "CLIENT_ID": "42",
    "CLIENT_SECRET": "0042",
    "BYOK_DB": "kv_store.db",
    "API_KEY": "7",
}


@pytest.mark.parametrize("name", FILES)
def test_it_loads(tmp_path: Path, name: str) -> None:
    (tmp_path / "run.yaml").write_text("version: 2\n")
    (tmp_path / "token").write_text("t\n")
    skill = tmp_path / "openshift"
    skill.mkdir()
    (skill / "SKILL.md").write_text(
        "---\nname: openshift\ndescription: Clusters.\n---\nAsk for the version.\n"
    )
    file = tmp_path / "lightspeed-stack.yaml"
    file.write_text((BASE + FILES[name]).replace("FOLDER", str(tmp_path)))
    configuration = load_configuration(file, VARIABLES)
    assert configuration.name == "Lightspeed Core Service (LCS)"
    secrets = configuration.azure_entra_id
    if secrets is not None:
        # A numeric secret stays as it was written.
        assert secrets.client_secret.get_secret_value() == "0042"
