from typing import Any

import pytest

from lightspeed.configuration.inference_provider import InferenceProvider
from lightspeed.errors import ConfigurationError
from lightspeed.stack.run_file.model_providers import model_providers

LOCAL = {"provider_type": "inline::llamacpp", "module": "lightspeed.stack.providers.llamacpp"}


def made(entry: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    (provider,) = model_providers((InferenceProvider.model_validate(entry),), environment)
    return provider


@pytest.mark.parametrize(
    ("entry", "environment", "expected"),
    [
        ({"type": "openai"}, {"OPENAI_API_KEY": "k"},
         {"provider_id": "openai", "provider_type": "remote::openai", "config": {"api_key": "k"}}),
        ({"type": "openai", "api_key_env": "MY", "base_url": "http://h/v1", "allowed_models": ["m"]},
         {"MY": "007", "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://other"},
         {"provider_id": "openai", "provider_type": "remote::openai",
          "config": {"api_key": "007", "base_url": "http://h/v1", "allowed_models": ["m"]}}),
        ({"type": "openai", "id": "mine", "api_key": "literal"}, {},
         {"provider_id": "mine", "provider_type": "remote::openai", "config": {"api_key": "literal"}}),
        ({"type": "azure", "base_url": "https://h/openai/v1", "extra": {"api_version": "2"}}, {"AZURE_API_VERSION": "1"},
         {"provider_id": "azure", "provider_type": "remote::azure",
          "config": {"api_version": "2", "base_url": "https://h/openai/v1"}}),
        ({"type": "vllm_rhaiis", "api_key_env": "T"}, {"T": "t", "VLLM_URL": "http://v/v1"},
         {"provider_id": "vllm-rhaiis", "provider_type": "remote::vllm", "config": {"api_token": "t", "base_url": "http://v/v1"}}),
        ({"type": "ollama"}, {}, {"provider_id": "ollama", "provider_type": "remote::ollama", "config": {}}),
        ({"type": "watsonx", "extra": {"project_id": "p", "timeout": 5}}, {"WATSONX_API_KEY": "k"},
         {"provider_id": "watsonx", "provider_type": "remote::watsonx", "config": {"project_id": "p", "timeout": 5, "api_key": "k"}}),
        ({"type": "vertexai"}, {"VERTEX_AI_PROJECT": "p"},
         {"provider_id": "vertexai", "provider_type": "remote::vertexai", "config": {"project": "p"}}),
        ({"type": "bedrock"}, {"AWS_DEFAULT_REGION": "r"},
         {"provider_id": "bedrock", "provider_type": "remote::bedrock", "config": {"region_name": "r"}}),
        ({"type": "litellm", "base_url": "http://proxy", "api_key": "k"}, {},
         {"provider_id": "litellm", "provider_type": "remote::openai", "config": {"api_key": "k", "base_url": "http://proxy"}}),
        ({"type": "llamacpp", "extra": {"model": "/m.gguf"}}, {"LIGHTSPEED_CONTEXT_SIZE": "4096"},
         {"provider_id": "llamacpp", "config": {"context_size": "4096", "model": "/m.gguf"}, **LOCAL}),
        ({"type": "sentence_transformers"}, {},
         {"provider_id": "sentence-transformers", "provider_type": "inline::sentence-transformers", "config": {}}),
    ],
)  # fmt: skip
def test_entries(entry: dict[str, Any], environment: dict[str, str], expected: dict[str, Any]) -> None:
    assert made(entry, environment) == expected


def test_every_type_is_known_to_the_stack_or_comes_with_a_module() -> None:
    from llama_stack.core.distribution import get_provider_registry
    from llama_stack_api import Api

    known = get_provider_registry()[Api.inference]
    everything = dict.fromkeys(("ANTHROPIC_API_KEY", "AZURE_API_BASE", "GEMINI_API_KEY", "GROQ_API_KEY", "LITELLM_API_KEY", "LITELLM_BASE_URL", "OPENAI_API_KEY", "VERTEX_AI_PROJECT", "VLLM_URL", "WATSONX_API_KEY", "WATSONX_PROJECT_ID"), "x")  # fmt: skip
    for kind in InferenceProvider.model_json_schema()["properties"]["type"]["enum"]:
        provider = made({"type": kind}, everything)
        assert provider["provider_type"] in known or "module" in provider, kind


def test_every_mistake_is_told_without_a_secret() -> None:
    entries = [
        {"type": "openai", "api_key_env": "UNSET"},
        {"type": "watsonx", "api_key": "c4nary"},
        {"type": "vllm"},
    ]
    with pytest.raises(ConfigurationError) as caught:
        model_providers(tuple(InferenceProvider.model_validate(entry) for entry in entries), {"UNSET": ""})
    assert caught.value.problems == [
        "inference.providers[0].api_key_env: the environment variable UNSET is not set or empty",
        "inference.providers[1].extra.project_id: is required, here or as the environment variable WATSONX_PROJECT_ID",
        "inference.providers[2].base_url: is required, here or as the environment variable VLLM_URL",
    ]
