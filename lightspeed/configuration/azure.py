"""The section `azure_entra_id`: tokens for Azure models."""

from pydantic import Field

from lightspeed.configuration.fields import Secret
from lightspeed.configuration.section import Section


class AzureEntraIdConfiguration(Section):
    """The application that fetches tokens."""

    tenant_id: Secret = Field(description="Tenant.")
    client_id: Secret = Field(description="Application.")
    client_secret: Secret = Field(description="Secret of the application.")
    scope: str = Field("https://cognitiveservices.azure.com/.default", description="Scope of the tokens.")
