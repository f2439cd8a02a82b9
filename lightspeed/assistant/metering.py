"""Accounts: who pays for calls of models, and whether they still can."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from lightspeed.assistant.model_round import ChatModel
from lightspeed.assistant.settling import Settling
from lightspeed.assistant.spending import MeteredModel
from lightspeed.identity.quota import Limit, Payer, quota_exceeded

if TYPE_CHECKING:
    from lightspeed.storage.quotas import Quotas

_CLASSES = {"user": "UserQuotaLimiter", "cluster": "ClusterQuotaLimiter"}


class Account(Protocol):
    """Pays for the calls of one request, one after the other or at the same time."""

    async def admit(self) -> None:
        """Raises TooManyRequests if a quota is used up, StorageError if that cannot be found out."""
        ...

    def metered(self, model: ChatModel) -> ChatModel:
        """The same model, at the expense of this account."""
        ...

    async def available(self) -> dict[str, int]:
        """What is left, in tokens, by limiter. Raises StorageError.

        The first limiter of each type goes by the name of its class in lightspeed-stack, further ones by that and
        their own name: `UserQuotaLimiter`, `UserQuotaLimiter:weekly`.
        """
        ...


class Metering:
    """Opens accounts. Without quotas they cost nothing."""

    def __init__(self, quotas: "Quotas | None", *, pause: float = 1.0) -> None:
        """`pause` is what passes, in seconds, until a settlement that has failed is tried again."""
        self._quotas = quotas
        self._settling = Settling(quotas, pause=pause) if quotas is not None else None

    @property
    def waiting(self) -> int:
        """How many settlements wait for the database."""
        return self._settling.waiting if self._settling is not None else 0

    def account(self, payer: Payer | None) -> Account:
        """A new account for one request; nobody pays if `payer` is None."""
        if self._quotas is None or self._settling is None or payer is None:
            return _Free()
        return _Paid(self._quotas, self._settling, payer)

    async def close(self) -> None:
        """After the last call has ended. What the database does not take is logged."""
        if self._settling is not None:
            await self._settling.close()


UNMETERED = Metering(None)


class _Free:
    async def admit(self) -> None:
        pass

    def metered(self, model: ChatModel) -> ChatModel:
        return model

    async def available(self) -> dict[str, int]:
        return {}


class _Paid:
    def __init__(self, quotas: "Quotas", settling: Settling, payer: Payer) -> None:
        self._quotas = quotas
        self._settling = settling
        self._payer = payer
        self._id = str(uuid4())
        self._keys = _keys(quotas.limits)

    async def admit(self) -> None:
        for balance in await self._quotas.balances(self._payer):
            if not balance.open_to(self._id):
                raise quota_exceeded(balance, self._payer, self._quotas.now())

    def metered(self, model: ChatModel) -> ChatModel:
        return MeteredModel(model, self._quotas, self._settling, self._payer, self._id)

    async def available(self) -> dict[str, int]:
        balances = await self._quotas.balances(self._payer)
        return {self._keys[balance.limit.name]: balance.available for balance in balances}


def _keys(limits: Sequence[Limit]) -> dict[str, str]:
    keys: dict[str, str] = {}
    for limit in limits:
        key = _CLASSES[limit.per]
        keys[limit.name] = f"{key}:{limit.name}" if key in keys.values() else key
    return keys
