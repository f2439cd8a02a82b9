"""The order in which waiting turns are tried."""

from collections import Counter
from collections.abc import Iterable

from lightspeed.storage.pending import PendingTurn
from lightspeed.storage.records import TurnRecord


class RetryOrder:
    """Oldest first, but what has failed goes behind, so that a turn which cannot be recorded holds up no other.

    The turns of one conversation always keep their order.
    """

    REFUSALS = 10  # then a turn is set aside

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()  # by conversation
        self._refusals: Counter[str] = Counter()  # by request
        self._set_aside: set[str] = set()

    @property
    def set_aside(self) -> int:
        """How many turns are not tried any more."""
        return len(self._set_aside)

    def tried(self, turns: Iterable[PendingTurn]) -> list[PendingTurn]:
        """Those that have not been set aside."""
        return [waiting for waiting in turns if waiting.turn.request_id not in self._set_aside]

    def conversations(self, turns: Iterable[PendingTurn]) -> list[list[PendingTurn]]:
        """Oldest turns in the order in which they are to be tried, by conversation."""
        found: dict[str, list[PendingTurn]] = {}
        for waiting in turns:
            found.setdefault(waiting.turn.conversation_id, []).append(waiting)
        # Stable: among equals the oldest stay first.
        return sorted(found.values(), key=lambda group: self._failures[group[0].turn.conversation_id])

    def failed(self, turn: TurnRecord, *, refused: bool) -> bool:
        """`refused` says that the turn is at fault and not the database. True when it has been set aside for it."""
        self._failures[turn.conversation_id] += 1
        if refused:
            self._refusals[turn.request_id] += 1
        if self._refusals[turn.request_id] < self.REFUSALS:
            return False
        self.put_aside(turn)
        return True

    def put_aside(self, turn: TurnRecord) -> None:
        """Try a turn no more while this process lives."""
        self._set_aside.add(turn.request_id)
        self.done(turn)

    def done(self, turn: TurnRecord) -> None:
        """Forget the failures of a turn."""
        self._failures.pop(turn.conversation_id, None)
        self._refusals.pop(turn.request_id, None)
