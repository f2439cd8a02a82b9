"""Providers that cannot start, and settings that nothing reads, told before anything is started."""

from pathlib import Path
from typing import Any

import pytest
from llama_stack_api import Api

from lightspeed.configuration.substitution import substitute
from lightspeed.errors import ConfigurationError, StartupError
from lightspeed.stack.providers_check import (
    Findings,
    check_providers,
    import_providers,
    inspect_providers,
    provider_types,
)

CHAT = {"provider_id": "chat", "provider_type": "remote::openai", "config": {"api_key": "k"}}
DOCLING = {"provider_id": "d", "provider_type": "inline::docling"}
MILVUS = {
    "provider_id": "m",
    "provider_type": "inline::milvus",
    "config": {"db_path": "m.db", "persistence": {"backend": "kv_default", "namespace": "n"}},
}
FILES = {
    "provider_id": "f",
    "provider_type": "inline::localfs",
    "config": {"storage_dir": "d", "metadata_store": {"backend": "sql_default", "table_name": "t"}},
}


def found(apis: list[str] | None = None, **providers: list[dict[str, Any]]) -> tuple[Findings, Any]:
    tree = {"distro_name": "d", "providers": providers} | ({"apis": apis} if apis else {})
    configuration = check_providers(tree, "run.yaml")
    types = provider_types(configuration, "run.yaml")
    return inspect_providers(configuration, types, "run.yaml"), configuration


def test_sound_providers() -> None:
    findings, _ = found(inference=[CHAT, {"provider_id": None, "provider_type": "remote::nothing"}])
    assert findings == Findings([], [], [])


def test_settings_that_nothing_reads() -> None:
    config = {"base_url": "http://h/v1", "api_token": "t", "url": "http://old", "network": {"timeout": 5}}
    findings, _ = found(inference=[{"provider_id": "v", "provider_type": "remote::vllm", "config": config}])
    assert findings.problems == []
    assert findings.warnings == [
        "run.yaml: providers.inference.v.config.url: is not a setting of remote::vllm; has no effect"
    ]


def test_digits_are_text_where_text_is_wanted() -> None:
    tree = {
        "provider_id": "${env.NAME}",
        "provider_type": "remote::watsonx",
        "config": {"api_key": "${env.KEY}", "project_id": "${env.PROJECT}", "timeout": "${env.TIMEOUT}"},
    }
    variables = {"NAME": "7", "KEY": "12345", "PROJECT": "0099", "TIMEOUT": "30"}
    findings, configuration = found(inference=[substitute(tree, variables, retype=True)])
    assert findings == Findings([], [], [])
    (provider,) = configuration.providers["inference"]
    assert provider.provider_id == "7"
    assert provider.config == {"api_key": "12345", "project_id": "0099", "timeout": 30}


def test_a_missing_package_is_named_in_one_line() -> None:
    findings, configuration = found(inference=[CHAT], vector_io=[MILVUS])
    line = "providers.vector_io.m: provider inline::milvus needs the Python package 'pymilvus', which is not installed"
    assert findings.missing == [line]
    with pytest.raises(StartupError) as caught:
        import_providers(configuration, provider_types(configuration, ""), "")
    assert str(caught.value) == line


def test_what_this_service_never_calls_is_left_out_when_it_cannot_start() -> None:
    responses = {
        "provider_id": "r",
        "provider_type": "inline::builtin",
        "config": {
            "persistence": {
                "agent_state": {"backend": "kv_default", "namespace": "a"},
                "responses": {"backend": "sql_default", "table_name": "r"},
            }
        },
    }
    findings, configuration = found(
        ["inference", "files", "file_processors", "responses"],
        inference=[CHAT],
        files=[FILES],
        file_processors=[DOCLING],
        responses=[responses],
    )
    assert findings.problems == []
    assert findings.missing == []
    assert findings.warnings == [
        "run.yaml: providers.file_processors.d: is left out; inline::docling needs the Python package 'docling',"
        " which is not installed",
        "run.yaml: providers.responses.r: is left out; nothing provides tool_runtime, vector_io",
    ]
    assert configuration.apis == ["inference", "files"]
    assert set(configuration.providers) == {"inference", "files"}


def test_what_others_need_is_told() -> None:
    search = {"provider_id": "s", "provider_type": "inline::file-search"}
    findings, _ = found(inference=[CHAT], tool_runtime=[search])
    assert findings.problems == ["run.yaml: providers.tool_runtime.s: needs a provider of files, vector_io"]


def test_unknown_types_and_wrong_settings_are_told_together() -> None:
    wrong = CHAT | {"config": {"base_url": "no address"}}
    findings, configuration = found(
        inference=[CHAT | {"provider_id": "a", "provider_type": "remote::opnai"}, wrong]
    )
    assert [problem.split(": ", 2)[1] for problem in findings.problems] == [
        "providers.inference.a",
        "providers.inference.chat.config.base_url",
    ]
    with pytest.raises(ConfigurationError):
        import_providers(configuration, provider_types(configuration, ""), "")


def test_a_module_that_cannot_be_loaded(tmp_path: Path) -> None:
    tree = {
        "distro_name": "d",
        "providers": {"inference": [CHAT | {"provider_type": "remote::x", "module": "no_such_module"}]},
    }
    configuration = check_providers(tree, "run.yaml")
    with pytest.raises(ConfigurationError) as caught:
        provider_types(configuration, "run.yaml")
    (line,) = caught.value.problems
    assert line.startswith("run.yaml: providers: a module among no_such_module cannot be loaded: ")


def test_types_are_listed_by_api() -> None:
    configuration = check_providers({"distro_name": "d", "providers": {}}, "run.yaml")
    assert "remote::openai" in provider_types(configuration, "run.yaml")[Api.inference]
