"""Run configurations as llama-stack 0.6 and 0.3 were given them."""

STOCK_0_6 = """
version: 2
image_name: starter
apis: [agents, batches, datasetio, eval, files, inference, safety, scoring, telemetry, tool_runtime, vector_io]
benchmarks: []
datasets: []
scoring_fns: []
external_providers_dir: ${env.PROVIDERS:=/nowhere/providers.d}
telemetry: {enabled: true}
server: {port: 8321}
providers:
  inference:
  - provider_id: openai
    provider_type: remote::openai
    config:
      api_key: ${env.OPENAI_API_KEY}
      base_url: ${env.MODEL_URL}
      allowed_models: ["${env.MODEL:=scripted}", scripted-embedding]
  files:
  - provider_id: meta-reference-files
    provider_type: inline::localfs
    config:
      storage_dir: ${env.STATE}/files
      metadata_store: {table_name: files_metadata, backend: sql_default}
  safety:
  - provider_id: llama-guard
    provider_type: inline::llama-guard
    config: {excluded_categories: []}
  scoring:
  - {provider_id: basic, provider_type: "inline::basic", config: {}}
  - {provider_id: llm-as-judge, provider_type: "inline::llm-as-judge", config: {}}
  - {provider_id: braintrust, provider_type: "inline::braintrust", config: {openai_api_key: "********"}}
  tool_runtime:
  - {provider_id: rag-runtime, provider_type: "inline::rag-runtime", config: {}}
  vector_io:
  - provider_id: solr-vector
    provider_type: remote::solr_vector_io
    config:
      solr_url: http://localhost:8983/solr
      persistence: {namespace: portal-rag, backend: kv_default}
  - provider_id: faiss
    provider_type: inline::faiss
    config:
      persistence: {namespace: "vector_io::faiss", backend: kv_default}
  agents:
  - provider_id: meta-reference
    provider_type: inline::meta-reference
    config:
      persistence:
        agent_state: {namespace: agents_state, backend: kv_default}
        responses: {table_name: agents_responses, backend: sql_default}
  batches:
  - provider_id: reference
    provider_type: inline::reference
    config:
      kvstore: {namespace: batches_store, backend: kv_default}
  datasetio:
  - provider_id: huggingface
    provider_type: remote::huggingface
    config:
      kvstore: {namespace: huggingface_datasetio, backend: kv_default}
  - provider_id: localfs
    provider_type: inline::localfs
    config:
      kvstore: {namespace: localfs_datasetio, backend: kv_default}
  eval:
  - provider_id: meta-reference
    provider_type: inline::meta-reference
    config:
      kvstore: {namespace: eval_store, backend: kv_default}
storage:
  backends:
    kv_default: {type: kv_sqlite, db_path: "${env.STATE}/kv_store.db"}
    sql_default: {type: sql_sqlite, db_path: "${env.STATE}/sql_store.db"}
  stores:
    metadata: {namespace: registry, backend: kv_default}
    inference: {table_name: inference_store, backend: sql_default, max_write_queue_size: 10000, num_writers: 4}
    conversations: {table_name: openai_conversations, backend: sql_default}
    prompts: {namespace: prompts, backend: kv_default}
registered_resources:
  models:
  - model_id: embedding
    model_type: embedding
    provider_id: openai
    provider_model_id: scripted-embedding
    metadata: {embedding_dimension: 384}
  shields:
  - {shield_id: llama-guard, provider_id: llama-guard, provider_shield_id: openai/scripted}
  vector_stores:
  - {vector_store_id: portal-rag, provider_id: solr-vector, embedding_model: openai/scripted-embedding, embedding_dimension: 384}
  - {vector_store_id: docs, provider_id: faiss, embedding_model: openai/scripted-embedding, embedding_dimension: 384}
  tool_groups:
  - {toolgroup_id: "builtin::rag", provider_id: rag-runtime}
vector_stores:
  default_provider_id: faiss
  default_embedding_model: {provider_id: openai, model_id: scripted-embedding}
safety: {default_shield_id: llama-guard}
"""

# Databases are named where they are used, and resources stand at the top.
STOCK_0_3 = """
version: '2'
image_name: starter
built_at: '2025-01-01'
apis: [agents, files, inference, tool_runtime, vector_io, telemetry]
conversations_store: {type: sqlite, db_path: "${env.STATE}/conversations.db"}
inference_store: {type: sqlite, db_path: "${env.STATE}/inference_store.db"}
metadata_store: {type: sqlite, db_path: "${env.STATE}/registry.db"}
models:
- {model_id: embedding, model_type: embedding, provider_id: chat, provider_model_id: scripted-embedding, metadata: {embedding_dimension: 384}}
providers:
  agents:
  - provider_id: meta-reference
    provider_type: inline::meta-reference
    config:
      persistence_store: {type: sqlite, db_path: "${env.STATE}/agents_store.db"}
      responses_store: {type: sqlite, db_path: "${env.STATE}/responses_store.db"}
  inference:
  - provider_id: chat
    provider_type: remote::vllm
    config: {url: "${env.MODEL_URL}", api_token: "${env.KEY}", tls_verify: "${env.VERIFY:=false}"}
  files:
  - provider_id: meta-reference-files
    provider_type: inline::localfs
    config: {storage_dir: "${env.STATE}/files", metadata_store: {type: sqlite, db_path: "${env.STATE}/files.db"}}
  tool_runtime:
  - {provider_id: rag-runtime, provider_type: "inline::rag-runtime"}
  vector_io:
  - provider_id: docs
    provider_type: inline::faiss
    config: {kvstore: {type: sqlite, db_path: "${env.STATE}/faiss_store.db", namespace: null}}
  telemetry:
  - {provider_id: meta-reference, provider_type: "inline::meta-reference", config: {sinks: console}}
shields: []
vector_dbs:
- {vector_db_id: index, provider_id: docs, embedding_model: embedding, embedding_dimension: 384}
tool_groups:
- {toolgroup_id: "builtin::rag", provider_id: rag-runtime}
server: {port: 8321}
"""
