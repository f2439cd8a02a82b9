"""A user of the cluster."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClusterUser:
    """As a TokenReview names the user; what it does not tell is empty."""

    name: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
