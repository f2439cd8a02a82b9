"""The section `splunk`: events sent to a Splunk HTTP Event Collector."""

from collections.abc import Iterator

from pydantic import Field

from lightspeed.configuration.fields import ExistingFile, PositiveInt, is_web_address
from lightspeed.configuration.section import KeyPath, Section


class SplunkConfiguration(Section):
    """Where events go."""

    enabled: bool = Field(False, description="Whether events are sent.")
    url: str | None = Field(None, description="Address of the collector.")
    token_path: ExistingFile | None = Field(None, description="File that holds the token.")
    index: str | None = Field(None, description="Index that receives the events.")
    source: str = Field("lightspeed-stack", description="Source of the events.")
    timeout: PositiveInt = Field(5, description="Longest request, seconds.")
    verify_ssl: bool = Field(True, description="Whether the collector's certificate is checked.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        for key in ("url", "token_path", "index"):
            if self.enabled and not getattr(self, key):
                yield (key,), "is required when `enabled` is true"
        if self.enabled and self.url and not is_web_address(self.url):
            yield ("url",), "must be an http or https URL"
