"""What `azure_entra_id` wants of a run configuration."""

from lightspeed.stack.azure_models import azure_problems, azure_warnings


def test_an_azure_provider_needs_an_address() -> None:
    tree = {
        "providers": {
            "inference": [
                {"provider_id": "azure", "provider_type": "remote::azure", "config": {}},
                {"provider_id": "", "provider_type": "remote::azure"},
                {"provider_id": "other", "provider_type": "remote::openai"},
            ]
        }
    }
    assert list(azure_problems(tree)) == ["providers.inference.azure.config.base_url: is required"]
    assert list(azure_warnings(tree)) == []


def test_tokens_that_nothing_uses() -> None:
    [warning] = azure_warnings({"providers": {"inference": []}})
    assert warning.startswith("azure_entra_id: has no effect")
