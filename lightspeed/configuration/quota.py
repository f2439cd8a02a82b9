"""The section `quota_handlers`: how many tokens users and the cluster may spend."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

from pydantic import Field

from lightspeed.configuration.fields import NonNegativeInt, PositiveInt, Text
from lightspeed.configuration.period import parse_period
from lightspeed.configuration.section import KeyPath, Section, repeated
from lightspeed.configuration.storage import PostgreSQLDatabaseConfiguration, SQLiteDatabaseConfiguration

_LARGEST = 10**15  # tokens; sums of them must fit into a database's integers


class QuotaLimiterConfiguration(Section):
    """One limit, in tokens."""

    type: Literal["user_limiter", "cluster_limiter"] = Field(description="Whose tokens are counted.")
    name: Text = Field(description="Name for the log.")
    initial_quota: NonNegativeInt = Field(
        le=_LARGEST, description="Tokens at first, and again after each period, whatever is left then."
    )
    quota_increase: NonNegativeInt = Field(
        le=_LARGEST,
        description="Tokens added after each period; if `initial_quota` is 0, there are as many at first.",
    )
    period: str = Field(description="Length of a period, such as `1 day`.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        try:
            parse_period(self.period)
        except ValueError:
            yield ("period",), "must be a length of time above zero, such as `1 day` or `2 hours`"

    @property
    def period_length(self) -> timedelta:
        return parse_period(self.period)


class QuotaSchedulerConfiguration(Section):
    """The sweep that refills quotas."""

    period: PositiveInt = Field(1, description="Time between sweeps, seconds.")
    database_reconnection_count: PositiveInt = Field(
        10, description="Attempts to reach the database before the waits between them become 30 seconds."
    )
    database_reconnection_delay: PositiveInt = Field(1, description="Wait between attempts, seconds.")


class QuotaHandlersConfiguration(Section):
    """Limits, and the database of their balances; the token history may also be in the main database."""

    sqlite: SQLiteDatabaseConfiguration | None = Field(None, description="SQLite.")
    postgres: PostgreSQLDatabaseConfiguration | None = Field(None, description="PostgreSQL.")
    limiters: tuple[QuotaLimiterConfiguration, ...] = Field((), description="Limits.")
    scheduler: QuotaSchedulerConfiguration = Field(QuotaSchedulerConfiguration(), description="Sweeps.")
    enable_token_history: bool = Field(False, description="Whether tokens are summed by user and model.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.sqlite and self.postgres:
            yield (), "takes `sqlite` or `postgres`, not both"
        if self.limiters and not (self.sqlite or self.postgres):
            yield ("limiters",), "need `sqlite` or `postgres` beside them, where balances are kept"
        for position in repeated([limiter.name for limiter in self.limiters]):
            yield ("limiters", position, "name"), "is the name of another limiter too"
