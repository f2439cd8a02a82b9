"""The section `azure_entra_id`: tokens for Azure models."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from pydantic import Field

from lightspeed.configuration.fields import Secret, Text, WebAddress, is_web_address
from lightspeed.configuration.section import KeyPath, Section

_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


class AzureEntraIdConfiguration(Section):
    """The application that fetches tokens."""

    tenant_id: Secret = Field(description="Tenant.")
    client_id: Secret = Field(description="Application.")
    client_secret: Secret = Field(description="Secret of the application.")
    scope: Text = Field("https://cognitiveservices.azure.com/.default", description="Scope of the tokens.")
    authority: WebAddress = Field(
        "https://login.microsoftonline.com",
        description="Who gives the tokens: an https URL; http only for this machine.",
    )

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if not is_web_address(self.authority):
            return
        parts = urlsplit(self.authority)
        if parts.scheme != "https" and parts.hostname not in _THIS_MACHINE:
            yield ("authority",), "must be an https URL, as the secret is sent there"
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            yield ("authority",), "must be a plain URL, without user, query and fragment"
