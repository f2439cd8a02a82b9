"""The configuration files that come with Lightspeed, and the variables that each of them wants."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Example:
    """One way to use a file; `missing` is the Python package without which its provider cannot start."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    run: str | None = "run.yaml"
    folder: str | None = None
    missing: str | None = None

    @property
    def file(self) -> Path:
        return ROOT / (self.folder or f"examples/{self.name}") / "lightspeed-stack.yaml"


EXAMPLES = (
    Example("config", folder="config"),
    Example("azure", {"AZURE_API_KEY": "0012345", "AZURE_API_BASE": "https://n.openai.azure.com/openai/v1"}),
    Example(
        "azure-entra-id",
        {
            "AZURE_TENANT_ID": "0012345",
            "AZURE_CLIENT_ID": "0012345",
            "AZURE_CLIENT_SECRET": "0012345",
            "AZURE_API_BASE": "https://n.openai.azure.com/openai/v1",
        },
    ),
    Example("bedrock", {"AWS_BEARER_TOKEN_BEDROCK": "bedrock-key"}),
    Example("byok-okp-rag", {"BYOK_STORE": "vs_own", "BYOK_DATABASE": "knowledge.db"}, run=None),
    Example("conversation-cache-pg", {"POSTGRES_PASSWORD": "p@ss/word"}, run=None),
    Example("conversation-cache-sqlite", run=None),
    Example("litellm", {"LITELLM_MODEL": "anthropic/claude-sonnet-4-5", "LITELLM_API_KEY": "a-key"}),
    Example("lls-external", run=None),
    Example("local-gguf", {"LIGHTSPEED_MODEL": "/models/model.gguf"}),
    Example("ollama"),
    Example("openai", {"OPENAI_API_KEY": "sk-not-a-key"}),
    Example("skills", run=None),
    Example("vertexai", {"VERTEX_AI_PROJECT": "my-project"}, missing="google.genai"),
    Example("vllm", {"KSVC_URL": "https://vllm.example.com"}),
    Example(
        "vllm-rhaiis",
        {"LIGHTSPEED_RUN_CONFIG": "run-rhaiis.yaml", "RHAIIS_URL": "127.0.0.1", "RHAIIS_API_KEY": "a-key"},
        run="run-rhaiis.yaml",
        folder="examples/vllm",
    ),
    Example(
        "vllm-rhelai",
        {"LIGHTSPEED_RUN_CONFIG": "run-rhelai.yaml", "RHEL_AI_URL": "127.0.0.1", "RHEL_AI_API_KEY": "a-key"},
        run="run-rhelai.yaml",
        folder="examples/vllm",
    ),
    Example(
        "watsonx",
        {
            "WATSONX_API_KEY": "a-key",
            "WATSONX_BASE_URL": "https://us-south.ml.cloud.ibm.com",
            "WATSONX_PROJECT_ID": "0af1",
        },
    ),
)
