"""The section `azure_entra_id`."""

import pytest
from pydantic import ValidationError

from lightspeed.configuration.azure import AzureEntraIdConfiguration


@pytest.mark.parametrize(
    ("authority", "works"),
    [
        ("https://login.microsoftonline.us", True),
        ("http://localhost:8080", True),
        ("http://[::1]:8080/", True),
        ("http://login.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("https://user:c4nary@login.example.com", False),
        ("https://login.example.com/?a=b", False),
        ("login.microsoftonline.com", False),
        ("", False),
    ],
)
def test_where_tokens_may_come_from(authority: str, works: bool) -> None:
    given = {"tenant_id": "t", "client_id": "c", "client_secret": "s", "authority": authority}
    if works:
        assert AzureEntraIdConfiguration.model_validate(given).authority == authority
    else:
        with pytest.raises(ValidationError) as raised:
            AzureEntraIdConfiguration.model_validate(given)
        assert "c4nary" not in str(raised.value)
