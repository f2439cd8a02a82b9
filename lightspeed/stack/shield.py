"""A shield of the stack as the rest of the service sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shield:
    """`params` are what the run configuration gives to the shield, with secrets masked."""

    identifier: str
    provider_id: str
    provider_resource_id: str
    params: Mapping[str, Any]
