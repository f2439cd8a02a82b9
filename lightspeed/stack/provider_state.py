"""A provider of the stack as the rest of the service sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ProviderState:
    """`status` is `OK`, `Error` or, for a provider that cannot be asked, `Not Implemented`; secrets are masked."""

    api: str
    provider_id: str
    provider_type: str
    status: str
    message: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
