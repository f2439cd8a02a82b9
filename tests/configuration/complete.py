"""A file that sets every key of the configuration."""

from pathlib import Path

COMPLETE = """
name: complete
service:
  host: 0.0.0.0
  port: "8443"
  base_url: https://assistant.example.com
  auth_enabled: true
  workers: 2
  color_log: false
  log_format: json
  access_log: false
  tls_config: {tls_certificate_path: FILE, tls_key_path: FILE, tls_key_password: FILE}
  root_path: /assistant
  cors: {allow_origins: ["https://a.example"], allow_credentials: true, allow_methods: [GET], allow_headers: [X-A]}
  heartbeat_seconds: 7
  limits:
    max_body_bytes: 1
    max_query_characters: 2
    max_attachments: 0
    max_attachment_characters: 4
    max_tool_rounds: 5
    turn_timeout_seconds: 6
    requests_per_minute: 7
    max_concurrent_turns: 8
    max_concurrent_turns_per_user: 9
llama_stack:
  url: https://stack.example:8321
  api_key: key
  use_as_library_client: true
  library_client_config_path: FILE
  timeout: 1
  max_retries: 2
  retry_delay: 3
  allow_degraded_mode: true
user_data_collection:
  feedback_enabled: true
  feedback_storage: DIR
  transcripts_enabled: true
  transcripts_storage: DIR/new
  data_collector:
    enabled: true
    ingress_server_url: https://ingress.example/api
    ingress_server_auth_token: token
    ingress_content_service_name: assistant
    collection_interval: 60
    cleanup_after_send: false
    connection_timeout: 5
database:
  postgres: &postgres
    {host: db, port: 1, db: d, user: u, password: p, namespace: n, ssl_mode: verify-full, gss_encmode: disable,
     ca_cert_path: FILE}
retention: {conversations_days: 1, transcripts_days: 2, feedback_days: 3}
mcp_servers:
- name: one
  provider_id: p
  url: http://one/mcp
  authorization_headers: {Authorization: kubernetes, X-Key: FILE}
  headers: [X-Trace]
  require_approval: {always: [write], never: [read]}
  timeout: 5
  max_result_characters: 6
  tool_list_seconds: 7
mcp_registration: {enabled: true, allowed_hosts: ["*.example.com", "::1"], allow_private: true, max_servers_per_user: 1}
authentication:
  module: rh-identity
  skip_tls_verification: true
  skip_for_health_probes: true
  skip_for_metrics: true
  k8s_cluster_api: https://k8s.example
  k8s_ca_cert_path: FILE
  k8s_review_cache_seconds: 0
  k8s_timeout_seconds: 1
  jwk_config:
    url: https://keys.example/jwks
    issuer: https://issuer.example
    audience: [assistant, "https://assistant.example"]
    algorithms: [RS256, HS256]
    leeway_seconds: 0
    require_expiry: false
    ca_cert_path: FILE
    timeout_seconds: 1
    keys_cache_seconds: 2
    keys_stale_seconds: 0
    jwt_configuration:
      user_id_claim: sub
      username_claim: name
      role_rules:
      - {jsonpath: "$.g[*]", operator: contains, negate: true, value: a, roles: [r]}
      - {jsonpath: "$.g[*]", operator: match, value: "^a", roles: [r, s]}
      - {jsonpath: "$.g", operator: in, value: [[a], [b]], roles: [r]}
      - {jsonpath: "$.n", operator: equals, value: [3], roles: [r]}
  api_key_config: {api_key: k, keys: [{name: ci, key: c, roles: [r]}]}
  rh_identity_config: {required_entitlements: [rhel], max_header_size: 100}
  trusted_proxy_config: {user_header: X-User, allowed_service_accounts: [{namespace: n, name: a}]}
authorization: {access_rules: [{role: "*", actions: [query, info]}, {role: "*", actions: [admin]}]}
customization:
  profile_path: PROFILE
  disable_query_system_prompt: true
  disable_shield_ids_override: true
  system_prompt_path: PROMPT
  system_prompt: replaced by the file
  agent_card_path: CARD
  agent_card_config: {name: replaced by the file}
inference: {default_model: m, default_provider: p, context_windows: {p/m: "4096"}}
conversation_cache: {type: postgres, postgres: *postgres}
compaction: {enabled: true, threshold_ratio: 1, token_floor: 0, buffer_turns: 0, buffer_max_ratio: 0}
approvals: {approval_timeout_seconds: 1, approval_retention_days: 2}
byok_rag:
- {rag_id: docs, rag_type: inline::faiss, embedding_model: e, embedding_dimension: 3, vector_db_id: v, db_path: ~/d,
   score_multiplier: 0.5}
a2a_state: {sqlite: {db_path: a2a.db}}
quota_handlers:
  sqlite: {db_path: quota.db}
  limiters: [{type: user_limiter, name: u, initial_quota: 0, quota_increase: 5, period: 1 day}]
  scheduler: {period: 1, database_reconnection_count: 2, database_reconnection_delay: 3}
  enable_token_history: true
azure_entra_id: {tenant_id: t, client_id: c, client_secret: s, scope: x, authority: https://login.example}
rlsapi_v1: {allow_verbose_infer: true, quota_subject: org_id}
splunk:
  {enabled: true, url: "https://splunk.example", token_path: FILE, index: i, source: s, timeout: 1, verify_ssl: false}
deployment_environment: production
rag: {inline: [docs, okp], tool: [docs, vs_123], max_chunks: 5, max_tokens: 3000, neighbours: 1, max_seconds: 5.5}
okp: {rhokp_url: "https://okp.example", offline: false, chunk_filter_query: "product:x"}
reranker: {enabled: true, model: m}
skills: {paths: [DIR], max_skills: 1, max_files: 2, max_file_bytes: 3}
saved_prompts: {max_prompts_per_user: 200, max_display_name_length: 500, max_content_length: 30000}
"""


def complete_file(directory: Path) -> Path:
    (directory / "file").write_text("content\n")
    (directory / "prompt.txt").write_text("You know Widgets.\n\n")
    (directory / "card.yaml").write_text("name: Widget assistant\n")
    (directory / "profile.py").write_text(
        "BASE = 'You know Widgets'\nPROFILE_CONFIG = {'system_prompts': {'default': BASE + ' well.'}}\n"
    )
    files = {"PROFILE": "profile.py", "PROMPT": "prompt.txt", "CARD": "card.yaml", "FILE": "file", "DIR": ""}
    text = COMPLETE
    for word, name in files.items():
        text = text.replace(word, str(directory / name))
    path = directory / "complete.yaml"
    path.write_text(text)
    return path
