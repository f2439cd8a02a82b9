"""The section `llama_stack`: the stack inside this process, or a server."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import AnyHttpUrl, Field, SecretStr

from lightspeed.configuration.fields import ExistingFile, PositiveInt, Switch
from lightspeed.configuration.section import KeyPath, Section


class RunConfiguration(Section):
    """How the stack's configuration is made when there is no run.yaml."""

    baseline: Literal["default", "empty"] = Field(
        "default", description="What it begins with: what comes with the service, or nothing."
    )
    profile: ExistingFile | None = Field(
        None, description="A file in the format of run.yaml to begin with instead."
    )
    native_override: dict[str, Any] = Field(
        {},
        description="What replaces parts of it, in the format of run.yaml: mappings are merged, lists replaced.",
    )


class LlamaStackConfiguration(Section):
    """Where the Llama Stack runs. Library mode wins over `url`."""

    url: AnyHttpUrl | None = Field(None, description="Address of a Llama Stack server.")
    api_key: SecretStr | None = Field(None, description="API key of that server.")
    use_as_library_client: Switch = Field(False, description="Whether the stack runs in this process.")
    library_client_config_path: ExistingFile | None = Field(
        None, description="The stack's run.yaml, in library mode; null makes one from this file."
    )
    config: RunConfiguration | None = Field(None, description="How one is made when there is none.")
    timeout: PositiveInt = Field(180, description="Longest request to the server, seconds.")
    max_retries: PositiveInt = Field(5, description="Attempts to reach the server at start.")
    retry_delay: PositiveInt = Field(2, description="Wait between these attempts, seconds.")
    allow_degraded_mode: Switch = Field(False, description="Whether to start while the server is away.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if not self.use_as_library_client and self.url is None:
            yield ("url",), "is required unless `use_as_library_client` is true"
        if self.config is not None and self.library_client_config_path is not None:
            yield ("config",), "cannot be given beside `library_client_config_path`"
        if self.config is not None and not self.use_as_library_client:
            yield ("config",), "needs `use_as_library_client` to be true"
