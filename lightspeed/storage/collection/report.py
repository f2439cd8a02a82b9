"""What a pass of the collector has done."""

from dataclasses import dataclass, field


@dataclass
class CollectionReport:
    """What was sent and what was not. `size` counts the bytes of the sent files, before compression."""

    files: int = 0
    size: int = 0
    archives: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line."""
        sent = f"{self.files} files ({self.size} bytes) sent in {self.archives} archives"
        return "; ".join([sent if self.archives or self.failures else "nothing to send", *self.failures])
