"""Failures of the Kubernetes API as errors of this service."""

from lightspeed.errors import Forbidden, RequestError, Unavailable

_TRY_AGAIN_AFTER = "5"  # seconds
_LONGEST_REASON = 100


class ClusterRefusal(RequestError):
    """500: the cluster refuses what this service may not do there, or lacks what it asks for; waiting does not help."""

    status = 500


class ApiFailure(Exception):
    """What the API did instead of answering: an error `status` of HTTP, or none; `reason` may be shown."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        self.reason = " ".join(reason.split())[:_LONGEST_REASON] or "unknown"
        self.status = status
        super().__init__(self.reason if status is None else f"{self.reason} (status {status})")

    @property
    def passes(self) -> bool:
        """Whether the same question may be answered later."""
        return self.status is None or self.status == 429 or self.status >= 500


def unavailable(cause: str) -> Unavailable:
    headers = {"Retry-After": _TRY_AGAIN_AFTER}
    return Unavailable(cause, response="Unable to connect to Kubernetes API", headers=headers)


def forbidden(user: str) -> Forbidden:
    return Forbidden(
        f"User {user} is not authorized to access this endpoint.",
        response="User does not have permission to access this endpoint",
    )


def review_failed(failure: ApiFailure) -> RequestError:
    """A TokenReview that was not made."""
    if failure.status is None:
        return unavailable(f"Failed to connect to Kubernetes API: {failure}")
    if failure.passes:
        return unavailable(f"Kubernetes API unavailable: {failure}")
    return ClusterRefusal(f"Kubernetes API request failed: {failure}")


def version_failed(failure: ApiFailure) -> RequestError:
    """A ClusterVersion that was not read."""
    if failure.status == 404:
        return ClusterRefusal("ClusterVersion 'version' resource not found in OpenShift cluster")
    if failure.status == 403:
        return ClusterRefusal("Insufficient permissions to read ClusterVersion resource")
    if failure.passes:
        return unavailable(f"Failed to connect to Kubernetes API: {failure}")
    return ClusterRefusal(f"Kubernetes API request failed: {failure}")
