"""An enabled section `data_collector`."""

from typing import Any

from lightspeed.configuration.data_collector import DataCollector

TOKEN = "a-token-that-nobody-may-see"


def settings(url: str, **changes: Any) -> DataCollector:
    return DataCollector.model_validate(
        {
            "enabled": True,
            "ingress_server_url": url,
            "ingress_server_auth_token": TOKEN,
            "ingress_content_service_name": "lightspeed",
            **changes,
        }
    )
