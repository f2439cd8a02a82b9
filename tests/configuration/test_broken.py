"""Broken configuration files, through `lightspeed check`: one line for each mistake, and exit code 1."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightspeed.cli import run
from tests.configuration.test_loading import BROKEN as BROKEN_FILES

SERVICE: dict[str, Any] = {
    "name": "test",
    "service": {"host": "127.0.0.1"},
    "llama_stack": {"use_as_library_client": True, "library_client_config_path": "run.yaml"},
    "user_data_collection": {},
}
CHAT = {"provider_id": "chat", "provider_type": "remote::openai", "config": {"api_key": "sk-not-a-key"}}
ONE_FILE = {"use_as_library_client": True}
LIMITER = {"type": "user_limiter", "name": "n", "initial_quota": 1, "quota_increase": 1, "period": "1 day"}
ROLE_RULE = {"jsonpath": "$.g", "operator": "equals", "value": ["a"], "roles": ["r"]}
POSTGRES = {"db": "d", "user": "u", "password": "c4nary"}
TLS = {"tls_certificate_path": "certificate", "tls_key_path": "key"}
LONG = "x" * 300  # what the system says of it is no "no such file", as with a directory that lets nobody in
PEM = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF\n-----END ENCRYPTED PRIVATE KEY-----\n"


def run_file(state: str, **changes: Any) -> dict[str, Any]:
    backends = {
        "kv": {"type": "kv_sqlite", "db_path": f"{state}/kv.db"},
        "sql": {"type": "sql_sqlite", "db_path": f"{state}/sql.db"},
    }
    base = {"version": 2, "providers": {"inference": [CHAT]}, "storage": {"backends": backends}}
    return {key: value for key, value in (base | changes).items() if value is not None}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_", "VLLM_", "WATSONX_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIGHTSPEED_STATE", str(tmp_path / "state"))
    (tmp_path / "certificate").write_text("no certificate")
    (tmp_path / "key").write_text("no key")
    (tmp_path / "encrypted").write_text(PEM)
    return tmp_path


def check(folder: Path, capsys: pytest.CaptureFixture[str], service: object, run_yaml: object) -> list[str]:
    """Write both files, check them, and return the lines about mistakes, without folders."""
    for name, content in (("lightspeed-stack.yaml", service), ("run.yaml", run_yaml)):
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (folder / name).write_text(text)
    before = sorted(folder.rglob("*"))
    code = run(["check", "-c", "lightspeed-stack.yaml"])
    output = capsys.readouterr()
    assert sorted(folder.rglob("*")) == before
    lines = output.err.splitlines()
    assert code == (1 if any(line.startswith("lightspeed: ") for line in lines) else 0), output.err
    assert code == 0 or not output.out
    assert "c4nary" not in output.err + output.out
    return [line.removeprefix("lightspeed: ").replace(f"{folder}/", "") for line in lines]


BROKEN_SERVICE: list[tuple[dict[str, Any], str]] = [
    ({"service": {"host": ""}}, "service.host: must not be empty"),
    ({"service": {"tls_config": TLS | {"tls_key_path": "encrypted"}}}, "service.tls_config.tls_key_password: is required, because the key is encrypted"),
    ({"service": {"tls_config": TLS}}, "service.tls_config: certificate and key cannot be loaded: no PEM files, or a wrong password"),
    ({"service": {"tls_config": TLS | {"tls_key_path": LONG}}}, "service.tls_config.tls_key_path: cannot be reached: File name too long"),
    ({"service": {"tls_config": TLS | {"tls_key_path": "a\0b"}}}, "service.tls_config.tls_key_path: must not hold a null character"),
    ({"user_data_collection": {"feedback_enabled": True, "feedback_storage": LONG}}, "user_data_collection.feedback_storage: cannot be reached: File name too long"),
    ({"database": {"sqlite": {"db_path": LONG}}}, "database.sqlite.db_path: cannot be reached: File name too long"),
    ({"database": {"sqlite": {"db_path": "certificate/data/my.db"}}}, "database.sqlite.db_path: certificate is not a directory"),
    ({"database": {"sqlite": {"db_path": ":memory:"}}}, "database.sqlite.db_path: must be a file; `:memory:` is no place that processes share"),
    ({"service": {"root_path": "/a?b"}}, "service.root_path: must not hold `//`, `?`, `#`, `\\` or blanks"),
    ({"reranker": {"enabled": True, "model": ""}}, "reranker.model: must not be empty"),
    ({"service": {"root_path": "//a"}}, "service.root_path: must not hold `//`, `?`, `#`, `\\` or blanks"),
    ({"skills": {"paths": [LONG]}}, "skills.paths[0]: cannot be reached: File name too long"),
    ({"llama_stack": {"use_as_library_client": True, "library_client_config_path": LONG}}, "llama_stack.library_client_config_path: cannot be reached: File name too long"),
    ({"byok_rag": [{"rag_id": "docs", "vector_db_id": "v", "db_path": LONG}]}, f"byok_rag[0].db_path: {LONG} cannot be reached: File name too long"),
    ({"service": {"log_format": "xml"}}, "service.log_format: must be `text` or `json`"),
    ({"database": {"sqlite": {"db_path": "."}}}, "database.sqlite.db_path: is a directory, not a file"),
    ({"database": {"postgres": POSTGRES | {"gss_encmode": "require"}}}, "database.postgres.gss_encmode: `require` is not possible: the driver has no GSSAPI encryption"),
    ({"database": {"postgres": POSTGRES | {"db": ""}}}, "database.postgres.db: must not be empty"),
    ({"database": {"postgres": POSTGRES | {"namespace": ""}}}, "database.postgres.namespace: must not be empty"),
    ({"database": {"postgres": POSTGRES | {"port": "c4nary"}}}, "database.postgres.port: must be a whole number"),
    ({"database": {"postgres": {"db": "d", "user": "u"}}}, "database.postgres.password: is required"),
    ({"database": {"postgres": POSTGRES | {"ca_cert_path": "/nowhere"}}}, "database.postgres.ca_cert_path: no such file"),
    ({"database": {"postgres": POSTGRES | {"ssl_mode": "on"}}}, "database.postgres.ssl_mode: must be `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`"),
    ({"conversation_cache": {"type": "memory", "memory": {}}}, "conversation_cache.memory.max_entries: is required"),
    ({"quota_handlers": {"limiters": [LIMITER]}}, "quota_handlers.limiters: need `sqlite` or `postgres` beside them, where balances are kept"),
    ({"quota_handlers": {"limiters": [LIMITER | {"initial_quota": 10**16}]}}, "quota_handlers.limiters[0].initial_quota: must be at most 1000000000000000"),
    ({"quota_handlers": {"sqlite": {"db_path": "q"}, "limiters": [LIMITER, LIMITER]}}, "quota_handlers.limiters[1].name: is the name of another limiter too"),
    ({"quota_handlers": {"limiters": [LIMITER | {"period": "a day"}]}}, "quota_handlers.limiters[0].period: must be a length of time above zero, such as `1 day` or `2 hours`"),
    ({"quota_handlers": {"limiters": [LIMITER | {"type": "org_limiter"}]}}, "quota_handlers.limiters[0].type: is unknown; did you mean `user_limiter`?"),
    ({"quota_handlers": {"limiters": [LIMITER | {"initial_quota": -1}]}}, "quota_handlers.limiters[0].initial_quota: must be at least 0"),
    ({"mcp_servers": [{"name": "m", "url": "ws://h/mcp"}]}, "mcp_servers[0].url: must be an http or https URL"),
    ({"mcp_servers": [{"name": "m", "url": "http://h", "headers": ["X Trace"]}]}, "mcp_servers[0].headers[0]: is not the name of a header"),
    ({"mcp_servers": [{"name": "m", "url": "http://h", "authorization_headers": {"A:": "client"}}]}, "mcp_servers[0].authorization_headers.A:: is not the name of a header"),
    ({"mcp_servers": [{"name": "m", "url": "http://h", "timeout": 0}]}, "mcp_servers[0].timeout: must be greater than 0"),
    ({"mcp_servers": [{"name": "m", "url": "http://h", "max_result_characters": 0}]}, "mcp_servers[0].max_result_characters: must be greater than 0"),
    ({"mcp_servers": [{"name": "m", "url": "http://h", "tool_list_seconds": "soon"}]}, "mcp_servers[0].tool_list_seconds: must be a whole number"),
    ({"authentication": {"module": "api-key-token", "api_key_config": {}}}, "authentication.api_key_config.api_key: is required"),
    ({"authentication": {"api_key_config": {}}}, "authentication.api_key_config.api_key: is required, here or as an entry of `keys`"),
    ({"authentication": {"api_key_config": {"api_key": "c4nary c4nary"}}}, "authentication.api_key_config.api_key: must be visible ASCII characters without blanks, or no header can hold it"),
    ({"authentication": {"api_key_config": {"keys": [{"name": "a", "key": "c4naryé"}]}}}, "authentication.api_key_config.keys[0].key: must be visible ASCII characters without blanks, or no header can hold it"),
    ({"authentication": {"api_key_config": {"keys": [{"name": "a", "key": "c4nary"}, {"name": "a", "key": "k"}]}}}, "authentication.api_key_config.keys[1].name: is the name of another key too"),
    ({"authentication": {"api_key_config": {"keys": [{"name": "a", "key": "c4nary"}, {"name": "b", "key": "c4nary"}]}}}, "authentication.api_key_config.keys[1].key: is given twice"),
    ({"authentication": {"api_key_config": {"api_key": "c4nary", "keys": [{"name": "a", "key": "c4nary"}]}}}, "authentication.api_key_config.keys[0].key: is given twice"),
    ({"authentication": {"api_key_config": {"keys": [{"name": " ", "key": "c4nary"}]}}}, "authentication.api_key_config.keys[0].name: must be at most 256 printable characters, and not blank"),
    ({"authentication": {"api_key_config": {"keys": [{"name": "a", "key": "c4nary", "roles": ["*"]}]}}}, "authentication.api_key_config.keys[0].roles[0]: `*` is everyone's role and cannot be given by a rule"),
    ({"authentication": {"api_key_config": {"keys": [{"name": "a", "key": "c4nary", "roles": ["r", "r"]}]}}}, "authentication.api_key_config.keys[0].roles[1]: is given twice"),
    ({"authentication": {"module": "jwk-token"}}, "authentication.jwk_config: is required by the module `jwk-token`"),
    ({"authentication": {"jwk_config": {"url": "ftp://k"}}}, "authentication.jwk_config.url: must be an http or https URL"),
    ({"authentication": {"jwk_config": {"url": "https://k", "algorithms": ["none"]}}}, "authentication.jwk_config.algorithms[0]: must be `RS256`, `RS384`"),
    ({"authentication": {"jwk_config": {"url": "https://k", "algorithms": []}}}, "authentication.jwk_config.algorithms: must not be empty"),
    ({"authentication": {"jwk_config": {"url": "https://k", "algorithms": ["RS256", "RS256"]}}}, "authentication.jwk_config.algorithms[1]: is given twice"),
    ({"authentication": {"jwk_config": {"url": "https://k", "audience": []}}}, "authentication.jwk_config.audience: must not be empty"),
    ({"authentication": {"jwk_config": {"url": "https://k", "audience": ""}}}, "authentication.jwk_config.audience[0]: must not be empty"),
    ({"authentication": {"jwk_config": {"url": "https://k", "audience": 5}}}, "authentication.jwk_config.audience: must be a list"),
    ({"authentication": {"jwk_config": {"url": "https://k", "leeway_seconds": -1}}}, "authentication.jwk_config.leeway_seconds: must be at least 0"),
    ({"authentication": {"jwk_config": {"url": "https://k", "ca_cert_path": "nowhere"}}}, "authentication.jwk_config.ca_cert_path: no such file"),
    ({"authentication": {"jwk_config": {"url": "https://k", "jwt_configuration": {"role_rules": [ROLE_RULE | {"jsonpath": "$.g["}]}}}}, "authentication.jwk_config.jwt_configuration.role_rules[0].jsonpath: is not a JSON path"),
    ({"authentication": {"jwk_config": {"url": "https://k", "jwt_configuration": {"role_rules": [ROLE_RULE | {"operator": "match", "value": "("}]}}}}, "authentication.jwk_config.jwt_configuration.role_rules[0].value: must be a valid regular expression for the operator `match`"),
    ({"authentication": {"jwk_config": {"url": "https://k", "jwt_configuration": {"role_rules": [ROLE_RULE | {"operator": "match", "value": 5}]}}}}, "authentication.jwk_config.jwt_configuration.role_rules[0].value: must be text for the operator `match`"),
    ({"authentication": {"jwk_config": {"url": "https://k", "jwt_configuration": {"role_rules": [ROLE_RULE | {"operator": "in", "value": "c4nary"}]}}}}, "authentication.jwk_config.jwt_configuration.role_rules[0].value: must be a list for the operator `in`"),
    ({"authentication": {"jwk_config": {"url": "https://k", "jwt_configuration": {"role_rules": [ROLE_RULE | {"roles": []}]}}}}, "authentication.jwk_config.jwt_configuration.role_rules[0].roles: must not be empty"),
    ({"authentication": {"jwk_config": {"url": "https://k", "jwt_configuration": {"role_rules": [ROLE_RULE | {"roles": ["a", "a"]}]}}}}, "authentication.jwk_config.jwt_configuration.role_rules[0].roles[1]: is given twice"),
    ({"authentication": {"jwk_config": {"url": "https://k", "jwt_configuration": {"role_rules": [ROLE_RULE | {"roles": ["*"]}]}}}}, "authentication.jwk_config.jwt_configuration.role_rules[0].roles[0]: `*` is everyone's role and cannot be given by a rule"),
    ({"authentication": {"module": "trusted-proxy"}}, "authentication.trusted_proxy_config: is required by the module `trusted-proxy`"),
    ({"authentication": {"trusted_proxy_config": {"user_header": "X User"}}}, "authentication.trusted_proxy_config.user_header: is not the name of a header"),
    ({"authentication": {"trusted_proxy_config": {"allowed_service_accounts": [{"namespace": "n"}]}}}, "authentication.trusted_proxy_config.allowed_service_accounts[0].name: is required"),
    ({"authentication": {"k8s_timeout_seconds": 0}}, "authentication.k8s_timeout_seconds: must be greater than 0"),
    ({"authentication": {"module": "rh-identity", "rh_identity_config": {"required_entitlements": [""]}}}, "authentication.rh_identity_config.required_entitlements[0]: must not be empty"),
    ({"authorization": {"access_rules": [{"role": "", "actions": ["query"]}]}}, "authorization.access_rules[0].role: must not be empty"),
    ({"authorization": {"access_rules": [{"role": "*", "actions": ["fly"]}]}}, "authorization.access_rules[0].actions[0]: "),
    ({"authorization": {"access_rules": [{"role": "*", "actions": ["admin", "query"]}]}}, "authorization.access_rules[0].actions: `admin` implies all other actions, and stands alone"),
    ({"authorization": {"access_rules": [{"role": "ops", "actions": ["query"]}]}}, "authorization.access_rules[0].role: `ops` is given to nobody by the authentication module in use"),
    ({"mcp_registration": {"allowed_hosts": ["example.com", "https://example.com"]}}, "mcp_registration.allowed_hosts[1]: must be the name or the IP address of a host, or `*.` before a name"),
    ({"mcp_registration": {"allowed_hosts": ["mcp.*.com"]}}, "mcp_registration.allowed_hosts[0]: must be the name or the IP address of a host, or `*.` before a name"),
    ({"mcp_registration": {"allow_private": True}}, "mcp_registration.allowed_hosts: is required beside `allow_private`, or users could reach everything inside"),
    ({"mcp_registration": {"max_servers_per_user": 0}}, "mcp_registration.max_servers_per_user: must be greater than 0"),
    ({"azure_entra_id": {"tenant_id": "t", "client_id": "c", "client_secret": "c4nary", "authority": "http://login.example"}}, "azure_entra_id.authority: must be an https URL, as the secret is sent there"),
    ({"azure_entra_id": {"tenant_id": "t", "client_id": "c", "client_secret": "c4nary", "scope": ""}}, "azure_entra_id.scope: must not be empty"),
    ({"byok_rag": [{"rag_id": "../up", "vector_db_id": "v", "db_path": "d"}]}, "byok_rag[0].rag_id: must not hold `/`, `\\` or control characters"),
    ({"byok_rag": [{"rag_id": "docs", "vector_db_id": "v", "db_path": "nowhere.db"}]}, "byok_rag[0].db_path: nowhere.db does not exist"),
    ({"skills": {"paths": ["nowhere"]}}, "skills.paths[0]: no such directory"),
    ({"skills": {"paths": ["key"]}}, "skills.paths[0]: no such directory"),
    ({"skills": {"max_files": 0}}, "skills.max_files: must be greater than 0"),
    ({"saved_prompts": {"max_prompts_per_user": 201}}, "saved_prompts.max_prompts_per_user: must be at most 200"),
    ({"saved_prompts": {"max_display_name_length": 0}}, "saved_prompts.max_display_name_length: must be greater than 0"),
    ({"saved_prompts": {"max_content_length": 30001}}, "saved_prompts.max_content_length: must be at most 30000"),
    ({"saved_prompts": {"max_promts_per_user": 5}}, "saved_prompts: unknown key `max_promts_per_user`; did you mean `max_prompts_per_user`?"),
    ({"rag": {"max_seconds": 0}}, "rag.max_seconds: must be greater than 0"),
    ({"rag": {"inline": ["dosc"]}}, "rag.inline[0]: `dosc` is neither a `rag_id` nor a store of run.yaml, which has no provider that could hold others"),
    ({"llama_stack": {"use_as_library_client": True, "library_client_config_path": "nowhere.yaml"}}, "llama_stack.library_client_config_path: no such file"),
    ({"llama_stack": ONE_FILE | {"config": {"profile": "nowhere.yaml"}}}, "llama_stack.config.profile: no such file"),
    ({"llama_stack": ONE_FILE | {"config": {"baseline": "none"}}}, "llama_stack.config.baseline: must be `default` or `empty`"),
    ({"inference": {"providers": [{"type": "openai"}]}}, "inference.providers: cannot be given beside `llama_stack.library_client_config_path`; list them there"),
    ({"llama_stack": ONE_FILE, "inference": {"providers": [{"type": "opneai"}]}}, "inference.providers[0].type: is unknown; did you mean `openai`?"),
    ({"llama_stack": ONE_FILE, "inference": {"providers": [{"type": "openai"}]}}, "inference.providers[0]: needs an API key: set OPENAI_API_KEY, or `api_key_env` to the name of another variable"),
    ({"llama_stack": ONE_FILE, "inference": {"providers": [{"type": "openai", "api_key_env": "NO_KEY"}]}}, "inference.providers[0].api_key_env: the environment variable NO_KEY is not set or empty"),
    ({"llama_stack": ONE_FILE, "inference": {"providers": [{"type": "openai", "api_key_env": "A", "api_key": "c4nary"}]}}, "inference.providers[0].api_key: cannot be given beside `api_key_env`"),
    ({"llama_stack": ONE_FILE, "inference": {"providers": [{"type": "vllm"}]}}, "inference.providers[0].base_url: is required, here or as the environment variable VLLM_URL"),
    ({"llama_stack": ONE_FILE, "inference": {"providers": [{"type": "vertexai"}]}}, "inference.providers[0].extra.project: is required, here or as the environment variable VERTEX_AI_PROJECT"),
    ({"llama_stack": ONE_FILE, "inference": {"providers": [{"type": "ollama", "api_key": "c4nary"}]}}, "inference.providers[0].api_key: is not used by the type `ollama`"),
    ({"llama_stack": ONE_FILE, "inference": {"providers": [{"type": "ollama"}, {"type": "ollama"}]}}, "inference.providers[1].id: `ollama` is the id of another provider too"),
    ({"llama_stack": ONE_FILE, "inference": {"default_provider": "openai", "default_model": "m", "providers": [{"type": "ollama"}]}}, "inference.default_provider: is not the id of one of `providers`"),
    ({"llama_stack": ONE_FILE, "inference": {"default_provider": "ollama", "default_model": "m", "providers": [{"type": "ollama", "allowed_models": ["n"]}]}}, "inference.default_model: is not among `providers[0].allowed_models`"),
    ({"llama_stack": ONE_FILE, "inference": {"providers": [{"type": "ollama", "extra": {"base_url": "http://h"}}]}}, "inference.providers[0].extra.base_url: belongs one level higher, as `base_url`"),
]  # fmt: skip

BROKEN_RUN_FILE: list[tuple[object, str]] = [
    ("", "must be a mapping of sections"),
    ("a: [\n", "line 2, column 1: is not valid YAML"),
    ({"version": 2, "providers": None}, "providers: is required"),
    ({"providers": []}, "providers: must be a mapping of APIs to lists"),
    ({"providers": {"inference": {}}}, "providers.inference: must be a list"),
    ({"providers": {"inference": ["c4nary"]}}, "providers.inference[0]: must be a section with keys"),
    ({"providers": {"inference": [{"provider_id": "a"}]}}, "providers.inference[0].provider_type: is required"),
    ({"providers": {"inference": [{"provider_type": "remote::openai"}]}}, "providers.inference[0].provider_id: is required"),
    ({"providers": {"inference": [CHAT | {"provider_id": 5}]}}, "providers.inference[0].provider_id: must be text; put the value in quotes"),
    ({"providers": {"inference": [CHAT, CHAT]}}, "providers.inference.chat: is the id of 2 providers"),
    ({"providers": {"inference": [CHAT | {"config": ["c4nary"]}]}}, "providers.inference[0].config: must be a mapping of keys to values"),
    ({"providers": {"inferense": [CHAT]}}, "providers.inferense: there is no API `inferense`; did you mean `inference`?"),
    ({"apis": "inference", "providers": {}}, "apis: must be a list"),
    ({"apis": ["inferense"], "providers": {}}, "apis[0]: there is no API `inferense`; did you mean `inference`?"),
    ({"registered_resources": []}, "registered_resources: must be a mapping of kinds to lists"),
    ({"registered_resources": {"models": {}}}, "registered_resources.models: must be a list"),
    ({"registered_resources": {"models": [{"provider_id": "chat"}]}}, "registered_resources.models[0].model_id: is required"),
    ({"registered_resources": {"models": [{"model_id": "m", "provider_id": "caht"}]}}, "registered_resources.models.m.provider_id: there is no provider `caht` for inference; there: chat"),
    ({"registered_resources": {"vector_stores": [{"vector_store_id": "v", "provider_id": "faiss", "embedding_model": "chat/e"}]}}, "registered_resources.vector_stores.v.provider_id: there is no provider `faiss` for vector_io; there: none"),
    ({"storage": ["c4nary"]}, "storage: must be a section with keys"),
    ({"storage": {"backends": ["c4nary"]}}, "storage.backends: must be a mapping of keys to values"),
    ({"storage": {"backends": {"kv": "c4nary"}}}, "storage.backends.kv: must be a section with keys"),
    ({"storage": {"backends": {"kv": {"type": "kv_sqlite", "db_path": "key"}}}}, "storage.backends: key is not a SQLite database"),
    ({"providers": {"inference": [CHAT | {"config": {"api_key": "${env.NO_KEY}"}}]}}, "providers.inference[0].config.api_key: the environment variable NO_KEY is not set or empty"),
    ({"providers": {"inference": [CHAT | {"provider_type": "remote::opnai"}]}}, "providers.inference.chat: there is no provider type 'remote::opnai' for inference; did you mean 'remote::openai'?"),
    ({"providers": {"inference": [CHAT | {"config": {"base_url": "c4nary"}}]}}, "providers.inference.chat.config.base_url: Input should be a valid URL, relative URL without a base"),
    ({"providers": {"inference": [CHAT | {"config": {"api_key": ["c4nary"]}}]}}, "providers.inference.chat.config.api_key: Input should be a valid string"),
    ({"providers": {"inference": [CHAT], "vector_io": [{"provider_id": "m", "provider_type": "inline::milvus", "config": {"db_path": "m.db", "persistence": {"backend": "kv", "namespace": "n"}}}]}}, "providers.vector_io.m: provider inline::milvus needs the Python package 'pymilvus', which is not installed"),
    ({"providers": {"inference": [CHAT], "tool_runtime": [{"provider_id": "f", "provider_type": "inline::file-search"}]}}, "providers.tool_runtime.f: needs a provider of files, vector_io"),
    ({"providers": {"inference": [{"provider_id": "l", "provider_type": "inline::llamacpp", "module": "lightspeed.stack.providers.llamacpp", "config": {"model": "/nowhere.gguf"}}]}}, "providers.inference.l.config.model: Model weights '/nowhere.gguf' were not found: there is no such file or folder, correct the path"),
    ({"providers": {"inference": [CHAT | {"module": "no_such_module"}]}}, "providers: a module among no_such_module cannot be loaded: "),
    ({"storage": {"backends": {"kv": {"type": "kv_none", "db_path": "x"}}}}, "storage.backends.kv: Input tag 'kv_none' found using 'type' does not match any of the expected tags"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), BROKEN_SERVICE)
def test_a_mistake_in_the_file_of_the_service(
    folder: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], expected: str
) -> None:
    lines = check(folder, capsys, SERVICE | change, run_file(str(folder)))
    assert [line for line in lines if f"lightspeed-stack.yaml: {expected}" in line], lines
    assert [
        line for line in lines if expected not in line and "not supported by this version" not in line
    ] == []


@pytest.mark.parametrize(("change", "expected"), BROKEN_RUN_FILE)
def test_a_mistake_in_run_yaml(
    folder: Path, capsys: pytest.CaptureFixture[str], change: object, expected: str
) -> None:
    content = run_file(str(folder), **change) if isinstance(change, dict) else change
    (line,) = check(folder, capsys, SERVICE, content)
    assert line.startswith(f"run.yaml: {expected}")


@pytest.mark.parametrize(("text", "expected"), BROKEN_FILES)
def test_what_cannot_be_loaded(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str | list[str]
) -> None:
    lines = check(folder, capsys, text.replace("FILE", str(folder / "key")), "")
    prefix = "lightspeed-stack.yaml: "
    assert [line for line in lines if line.startswith(prefix)] == [
        prefix + text for text in ([expected] if isinstance(expected, str) else expected)
    ]


def test_five_mistakes_in_two_files_are_five_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service = SERVICE | {
        "service": {"port": 0, "workers": "c4nary"},
        "rag": {"inlin": []},
        "inference": {"default_model": "m"},
    }
    lines = check(folder, capsys, service, run_file(str(folder), apis=["inferense"]))
    assert lines == [
        "lightspeed-stack.yaml: service.port: must be greater than 0",
        "lightspeed-stack.yaml: service.workers: must be a whole number",
        "lightspeed-stack.yaml: inference.default_provider: is required beside `default_model`",
        "lightspeed-stack.yaml: rag: unknown key `inlin`; did you mean `inline`?",
        "run.yaml: apis[0]: there is no API `inferense`; did you mean `inference`?",
    ]


def test_mistakes_that_only_the_stack_sees_are_told_together(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    providers = [
        CHAT | {"config": {"api_key": ["c4nary"], "refresh_models": "c4nary"}},
        CHAT | {"provider_id": "other", "provider_type": "remote::none"},
    ]
    lines = check(folder, capsys, SERVICE, run_file(str(folder), providers={"inference": providers}))
    assert lines == [
        "run.yaml: providers.inference.chat.config.refresh_models: Input should be a valid boolean,"
        " unable to interpret input",
        "run.yaml: providers.inference.chat.config.api_key: Input should be a valid string",
        "run.yaml: providers.inference.other: there is no provider type 'remote::none' for inference",
    ]


@pytest.mark.parametrize(
    ("service", "run_yaml", "expected"),
    [
        (SERVICE | {"service": {"port": 0}}, {}, "lightspeed-stack.yaml: service.port: must be greater than 0"),
        (SERVICE | {"service": {"tls_config": TLS}}, {}, "lightspeed-stack.yaml: service.tls_config: certificate and key cannot be loaded: no PEM files, or a wrong password"),
        (SERVICE, {"providers": []}, "run.yaml: providers: must be a mapping of APIs to lists"),
        (SERVICE | {"byok_rag": [{"rag_id": "r", "vector_db_id": "v", "db_path": "nowhere"}]}, {}, "lightspeed-stack.yaml: byok_rag[0].db_path: nowhere does not exist"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["check", "serve"])
def test_the_exit_code_of_the_program(
    folder: Path, command: str, service: dict[str, Any], run_yaml: dict[str, Any], expected: str
) -> None:
    (folder / "lightspeed-stack.yaml").write_text(yaml.safe_dump(service))
    (folder / "run.yaml").write_text(yaml.safe_dump(run_file(str(folder), **run_yaml)))
    arguments = [sys.executable, "-m", "lightspeed", command, "-c", str(folder / "lightspeed-stack.yaml")]
    done = subprocess.run(
        arguments,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.replace(f"{folder}/", "").splitlines() == [f"lightspeed: {expected}"]
