"""Who pays for tokens, and how many there are."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self

from lightspeed.configuration.quota import QuotaLimiterConfiguration
from lightspeed.errors import TooManyRequests
from lightspeed.identity.principal import Principal

# A balance that has been touched so lately may hold what calls that still run have reserved, and get some of it back.
_IN_USE_FOR = timedelta(minutes=1)
_SOON = 5  # seconds

type PayerKind = Literal["user", "organization", "system"]
type QuotaSubject = Literal["user_id", "org_id", "system_id"]


@dataclass(frozen=True, slots=True)
class Payer:
    """`id` is what limits of users charge; what was spent is added up for `user_id`.

    A user and an organization with the same id are two payers: `kind` keeps them apart.
    """

    id: str
    user_id: str
    kind: PayerKind = "user"

    @classmethod
    def of(cls, principal: Principal, subject: QuotaSubject = "user_id") -> Self:
        """The one that pays for a caller; the user, where the caller has no such id."""
        user_id = principal.user_id
        if subject == "org_id" and principal.organization_id:
            return cls(principal.organization_id, user_id, "organization")
        if subject == "system_id" and principal.system_id:
            return cls(principal.system_id, user_id, "system")
        return cls(user_id, user_id)


@dataclass(frozen=True, slots=True)
class Limit:
    """How many tokens a user, or all users together, may spend in a period."""

    name: str
    per: Literal["user", "cluster"]
    initial: int
    increase: int
    period: timedelta

    @classmethod
    def read(cls, configuration: QuotaLimiterConfiguration) -> Self:
        return cls(
            configuration.name,
            "user" if configuration.type == "user_limiter" else "cluster",
            configuration.initial_quota,
            configuration.quota_increase,
            configuration.period_length,
        )

    @property
    def first(self) -> int:
        """What there is at first. Who only gets increases, gets the first one at once."""
        return self.initial or self.increase

    @property
    def resets(self) -> bool:
        """Whether a new period replaces what is left of the last one; else it adds to that."""
        return self.initial > 0

    @property
    def refills(self) -> bool:
        return self.initial + self.increase > 0

    def subject(self, payer: Payer) -> tuple[str, str]:
        """The kind and the id of whoever has the balance that is charged."""
        return ("cluster", "") if self.per == "cluster" else (payer.kind, payer.id)


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left, in tokens; below zero by what the spender `overdrawn_by` took beyond it.

    `charged_at` is when that changed last, other than by a refill.
    """

    limit: Limit
    available: int
    overdrawn_by: str | None
    refilled_at: datetime
    charged_at: datetime

    def open_to(self, spender: str) -> bool:
        """Whether a request may go on spending: one at a time may go below zero."""
        return self.available > 0 or self.overdrawn_by == spender

    def seconds_until_open(self, now: datetime) -> int | None:
        """When to come again: soon, while what is reserved may still be given back; else when refills will have made
        it positive again. None if they never will.
        """
        if not self.limit.refills:
            return None
        periods = 1 if self.limit.resets else max(1, -self.available // self.limit.increase + 1)
        refilled = max(
            1, math.ceil((self.refilled_at - now).total_seconds() + periods * _seconds(self.limit))
        )
        in_use = self.overdrawn_by is not None and now - self.charged_at < _IN_USE_FOR
        return min(_SOON, refilled) if in_use else refilled


def quota_exceeded(balance: Balance, payer: Payer, now: datetime) -> TooManyRequests:
    """The error for a payer whose balance is used up."""
    whose = "Cluster" if balance.limit.per == "cluster" else f"{payer.kind.capitalize()} {payer.id}"
    seconds = balance.seconds_until_open(now)
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    return TooManyRequests(f"{whose} has no available tokens", headers=headers)


def _seconds(limit: Limit) -> float:
    return limit.period.total_seconds()
