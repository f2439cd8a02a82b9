"""What calls of models have cost, as it is settled and kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lightspeed.identity.quota import Payer


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What a user has spent on a model."""

    user_id: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Holding:
    """What a call has been charged in the period that began then, in tokens."""

    period_began: datetime
    tokens: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a call: `due` tokens are still to be charged, or to be given back if it is below zero.

    `holdings` tells by limit what there is to give back.
    """

    payer: Payer
    spender: str
    due: int
    holdings: Mapping[str, Holding] = field(default_factory=dict)
    usage: TokenUsage | None = None
