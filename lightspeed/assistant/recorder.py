"""Recording Turns: in the database, or on disk until the database takes them."""

import asyncio
import logging
from typing import TYPE_CHECKING

from lightspeed.assistant.backlog import Backlog, Outcome
from lightspeed.assistant.transcript_writer import TranscriptWriter
from lightspeed.storage.pending import PendingTurn, PendingTurns
from lightspeed.storage.records import Conversation, TurnRecord
from lightspeed.storage.transcripts import Transcripts
from lightspeed.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from lightspeed.storage.conversations import Conversations

logger = logging.getLogger(__name__)

_DATABASE_ANSWERS_WITHIN = 5.0  # seconds
_ABSENT_DATABASE_ANSWERS_WITHIN = 0.5
_CLOSES_WITHIN = 8.0


class Recorder:
    """Makes each Turn safe before its end is told. Used between `start()` and `close()`, in one event loop."""

    def __init__(
        self,
        conversations: "Conversations",
        pending: PendingTurns,
        transcripts: Transcripts | None,
        metrics: Metrics,
    ) -> None:
        self._conversations = conversations
        self._metrics = metrics
        self._transcripts = TranscriptWriter(transcripts, conversations, metrics) if transcripts else None
        self._backlog = Backlog(conversations, pending, dropped=self._drop_transcript)
        self._records: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Record from now on what waits, also what an earlier process has left."""
        self._backlog.start()

    @property
    def waiting(self) -> int:
        """How many turns wait for the database, as far as this process knows."""
        return self._backlog.waiting

    def is_waiting(self, request_id: str) -> bool:
        return self._backlog.holds(request_id)

    async def record(self, turn: TurnRecord, *, begins: bool, truncated: bool) -> None:
        """Keep a turn; returns when it is safe, and never raises. Its transcript follows in the background.

        `begins` says that it is the first of its conversation; else a conversation that has been deleted meanwhile
        stays deleted, and the turn is dropped.
        """
        task = asyncio.create_task(self._keep(PendingTurn(turn, begins), truncated))
        self._records.add(task)
        task.add_done_callback(self._records.discard)
        # Whoever is cancelled while it waits, the turn is kept.
        await asyncio.shield(task)

    async def find(self, conversation_id: str) -> Conversation | None:
        """The conversation, also if its turns wait to be recorded since the database was away.

        Raises StorageError while it still is.
        """
        await self.settle(conversation_id)
        conversation = await self._conversations.get(conversation_id)
        if conversation is None and await self.settle(conversation_id, search=True):
            conversation = await self._conversations.get(conversation_id)
        return conversation

    async def settle(self, conversation_id: str, *, search: bool = False) -> bool:
        """Record what waits of a conversation, if the database lets; whether anything has been recorded.

        Knows what waits since this process failed to record it; `search` looks for what others have left too.
        """
        if not search and not self._backlog.holds_of(conversation_id):
            return False
        try:
            async with asyncio.timeout(_DATABASE_ANSWERS_WITHIN):
                return await self._backlog.record_conversation(conversation_id)
        except TimeoutError:
            return False

    async def close(self) -> None:
        """Bring to an end what is under way, and try once more what waits. What cannot be kept is logged."""
        if self._records:
            await asyncio.wait(self._records, timeout=_CLOSES_WITHIN)
        if self._records:
            logger.error("%d turns are lost: neither the database nor the disk answers", len(self._records))
        await self._backlog.close()
        if self._transcripts is not None:
            await self._transcripts.close()

    async def _keep(self, waiting: PendingTurn, truncated: bool) -> None:
        attempt = self._backlog.attempt(waiting)
        away = self._backlog.database_is_away
        patience = _ABSENT_DATABASE_ANSWERS_WITHIN if away else _DATABASE_ANSWERS_WITHIN
        await asyncio.wait([attempt], timeout=patience)
        if not attempt.done() or not attempt.result().settled:
            try:
                if await self._backlog.add(waiting, attempt):
                    self._metrics.storage_failure("conversation")
            except Exception:
                logger.exception("A turn that the database has not taken cannot be kept elsewhere")
        outcome = attempt.result() if attempt.done() else Outcome.FAILED
        if self._transcripts is not None and outcome is not Outcome.DELETED:
            recorded = outcome is Outcome.RECORDED
            self._transcripts.write(waiting.turn, truncated=truncated, recorded=recorded)

    async def _drop_transcript(self, turn: TurnRecord) -> None:
        if self._transcripts is not None:
            await self._transcripts.drop(turn)
