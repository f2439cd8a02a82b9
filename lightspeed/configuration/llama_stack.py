"""The section `llama_stack`: the stack inside this process, or a server."""

from collections.abc import Iterator

from pydantic import AnyHttpUrl, Field, SecretStr

from lightspeed.configuration.fields import ExistingFile, PositiveInt, Switch
from lightspeed.configuration.section import KeyPath, Section


class LlamaStackConfiguration(Section):
    """Where the Llama Stack runs. Library mode wins over `url`."""

    url: AnyHttpUrl | None = Field(None, description="Address of a Llama Stack server.")
    api_key: SecretStr | None = Field(None, description="API key of that server.")
    use_as_library_client: Switch = Field(False, description="Whether the stack runs in this process.")
    library_client_config_path: ExistingFile | None = Field(
        None, description="The stack's run.yaml, in library mode."
    )
    timeout: PositiveInt = Field(180, description="Longest request to the server, seconds.")
    max_retries: PositiveInt = Field(5, description="Attempts to reach the server at start.")
    retry_delay: PositiveInt = Field(2, description="Wait between these attempts, seconds.")
    allow_degraded_mode: Switch = Field(False, description="Whether to start while the server is away.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.use_as_library_client and self.library_client_config_path is None:
            yield ("library_client_config_path",), "is required when `use_as_library_client` is true"
        if not self.use_as_library_client and self.url is None:
            yield ("url",), "is required unless `use_as_library_client` is true"
