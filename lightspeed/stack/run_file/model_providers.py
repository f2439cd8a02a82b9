"""The stack's providers for the entries of `inference.providers`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightspeed.configuration.inference_provider import InferenceProvider
from lightspeed.errors import ConfigurationError
from lightspeed.stack.run_file.tree import Tree


@dataclass(frozen=True, slots=True)
class _Kind:
    """How the stack's provider of one type is set up: its keys, and the variables that fill them by default."""

    provider_type: str
    module: str | None = None
    key: str | None = None
    key_variable: str | None = None
    key_required: bool = False
    address_variable: str | None = None
    address_required: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()


_VLLM = _Kind(
    "remote::vllm",
    key="api_token",
    key_variable="VLLM_API_TOKEN",
    address_variable="VLLM_URL",
    address_required=True,
)
_KINDS = {
    "anthropic": _Kind(
        "remote::anthropic", key="api_key", key_variable="ANTHROPIC_API_KEY", key_required=True
    ),
    # Without a key the section `azure_entra_id` gives tokens.
    "azure": _Kind(
        "remote::azure",
        key="api_key",
        key_variable="AZURE_API_KEY",
        address_variable="AZURE_API_BASE",
        address_required=True,
        variables={"api_version": "AZURE_API_VERSION"},
    ),
    "bedrock": _Kind(
        "remote::bedrock",
        key="api_key",
        key_variable="AWS_BEARER_TOKEN_BEDROCK",
        variables={"region_name": "AWS_DEFAULT_REGION"},
    ),
    "gemini": _Kind("remote::gemini", key="api_key", key_variable="GEMINI_API_KEY", key_required=True),
    "groq": _Kind("remote::groq", key="api_key", key_variable="GROQ_API_KEY", key_required=True),
    # A LiteLLM proxy speaks OpenAI's protocol.
    "litellm": _Kind(
        "remote::openai",
        key="api_key",
        key_variable="LITELLM_API_KEY",
        key_required=True,
        address_variable="LITELLM_BASE_URL",
        address_required=True,
    ),
    "llamacpp": _Kind(
        "inline::llamacpp",
        module="lightspeed.stack.providers.llamacpp",
        variables={
            "model": "LIGHTSPEED_MODEL",
            "context_size": "LIGHTSPEED_CONTEXT_SIZE",
            "default_max_tokens": "LIGHTSPEED_MAX_TOKENS",
        },
    ),
    "ollama": _Kind("remote::ollama", address_variable="OLLAMA_URL"),
    "openai": _Kind(
        "remote::openai",
        key="api_key",
        key_variable="OPENAI_API_KEY",
        key_required=True,
        address_variable="OPENAI_BASE_URL",
    ),
    "sentence_transformers": _Kind("inline::sentence-transformers"),
    "vertexai": _Kind(
        "remote::vertexai",
        variables={"project": "VERTEX_AI_PROJECT", "location": "VERTEX_AI_LOCATION"},
        required=("project",),
    ),
    "vllm": _VLLM,
    "vllm_rhaiis": _VLLM,
    "vllm_rhel_ai": _VLLM,
    "watsonx": _Kind(
        "remote::watsonx",
        key="api_key",
        key_variable="WATSONX_API_KEY",
        key_required=True,
        address_variable="WATSONX_BASE_URL",
        variables={"project_id": "WATSONX_PROJECT_ID"},
        required=("project_id",),
    ),
}


def model_providers(entries: tuple[InferenceProvider, ...], environment: Mapping[str, str]) -> list[Tree]:
    """The entries as the stack's run configuration has them.

    Raises ConfigurationError with one line for each mistake, beginning with the key in the service's file.
    """
    providers: list[Tree] = []
    problems: list[str] = []
    for position, entry in enumerate(entries):
        kind = _KINDS[entry.type]
        config: Tree = {}
        place = f"inference.providers[{position}]"
        problems += [f"{place}{text}" for text in _fill(config, entry, kind, environment)]
        provider = {"provider_id": entry.provider_id, "provider_type": kind.provider_type, "config": config}
        providers.append(provider | ({"module": kind.module} if kind.module else {}))
    if problems:
        raise ConfigurationError(problems)
    return providers


def _fill(
    config: Tree, entry: InferenceProvider, kind: _Kind, environment: Mapping[str, str]
) -> Iterator[str]:
    for name, variable in kind.variables.items():
        if value := environment.get(variable):
            config[name] = value
    config.update(entry.extra)
    if kind.key is not None:
        yield from _fill_key(config, entry, kind, environment)
    if address := entry.base_url or environment.get(kind.address_variable or ""):
        config["base_url"] = address
    elif kind.address_required:
        yield _lacks("base_url", kind.address_variable)
    if entry.allowed_models is not None:
        config["allowed_models"] = list(entry.allowed_models)
    for name in kind.required:
        if not config.get(name):
            yield _lacks(f"extra.{name}", kind.variables[name])


def _fill_key(
    config: Tree, entry: InferenceProvider, kind: _Kind, environment: Mapping[str, str]
) -> Iterator[str]:
    key: Any = entry.api_key.get_secret_value() if entry.api_key else None
    if entry.api_key_env is not None:
        key = environment.get(entry.api_key_env)
        if not key:
            yield f".api_key_env: the environment variable {entry.api_key_env} is not set or empty"
            return
    key = key or environment.get(kind.key_variable or "")
    if key:
        config[str(kind.key)] = key
    elif kind.key_required and kind.key not in config:
        yield f": needs an API key: set {kind.key_variable}, or `api_key_env` to the name of another variable"


def _lacks(key: str, variable: str | None) -> str:
    return f".{key}: is required, here or as the environment variable {variable}"
