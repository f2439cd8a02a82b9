"""The stack's register of models, shields and stores, which outlives a restart."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from llama_stack.core.datatypes import StackConfig
from llama_stack.core.stack import _initialize_storage
from llama_stack.core.store.registry import create_dist_registry

logger = logging.getLogger(__name__)


async def forget_what_has_changed(configuration: StackConfig) -> None:
    """Take entries out of the register that the run configuration now describes otherwise.

    The stack would refuse to start. What the entry stands for, such as the chunks of a store, is not touched.
    """
    metadata = configuration.storage.stores.metadata
    if metadata is None:
        return
    _initialize_storage(configuration)
    registry, _ = await create_dist_registry(metadata, configuration.distro_name)
    for kind, identifier, wanted in _configured(configuration):
        known = await registry.get(kind, identifier)
        if known is None:
            continue
        changed = [name for name, value in wanted.items() if getattr(known, name, None) != value]
        if changed:
            logger.info("The %s %s has changed: %s", kind.replace("_", " "), identifier, ", ".join(changed))
            await registry.delete(kind, identifier)


def _configured(configuration: StackConfig) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Kind, id and fields of what the stack is going to register."""
    resources = configuration.registered_resources
    for model in resources.models:
        if model.provider_id:
            name = model.provider_model_id or model.model_id
            fields = {"metadata": model.metadata or {}, "model_type": model.model_type}
            yield "model", f"{model.provider_id}/{name}", fields
    for shield in resources.shields:
        fields = {
            "provider_id": shield.provider_id,
            "provider_resource_id": shield.provider_shield_id or shield.shield_id,
            "params": shield.params or {},
        }
        yield "shield", shield.shield_id, _given(fields)
    for store in resources.vector_stores:
        fields = {
            "provider_id": store.provider_id,
            "embedding_model": store.embedding_model,
            "embedding_dimension": store.embedding_dimension,
            "vector_store_name": store.vector_store_name,
        }
        yield "vector_store", store.vector_store_id, _given(fields)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
