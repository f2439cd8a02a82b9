"""The shields that the stack knows."""

from collections.abc import Mapping
from typing import Any

from llama_stack_api import Api

from lightspeed.configuration.masking import without_secrets
from lightspeed.stack.shield import Shield
from lightspeed.stack.stack_errors import reported


async def registered_shields(impls: Mapping[Any, Any]) -> list[Shield]:
    """All shields whose provider runs; none if run.yaml has no `safety`. Raises RequestError."""
    table = impls.get(Api.shields)
    if table is None:
        return []
    with reported("Shield", ""):
        found = await table.get_all_with_type("shield")
    return [
        Shield(
            shield.identifier,
            shield.provider_id,
            shield.provider_resource_id or "",
            without_secrets(shield.params or {}),
        )
        for shield in found
        if shield.provider_id in table.impls_by_provider_id
    ]
