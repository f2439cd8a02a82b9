"""What users have made through the API, and whose it is."""

import time
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class OwnedStore:
    """`expires_at` in seconds since 1970; None is never."""

    id: str
    user_id: str
    created_at: datetime
    expires_at: int | None = None

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= time.time()


@dataclass(frozen=True, slots=True)
class OwnedFile:
    """An uploaded file of `bytes` bytes."""

    id: str
    user_id: str
    created_at: datetime
    filename: str
    bytes: int
