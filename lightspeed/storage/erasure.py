"""Removing what is kept, wherever it is kept: one way for users, administrators and retention."""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Protocol

from lightspeed.errors import StorageError
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.feedback import FeedbackStore
from lightspeed.storage.paused_turns import PausedTurns
from lightspeed.storage.pending import PendingTurns
from lightspeed.storage.records import Conversation
from lightspeed.storage.transcripts import Transcripts

_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class ErasedData:
    """How much has been removed; `turns` counts those in conversations of other users."""

    conversations: int = 0
    turns: int = 0
    transcripts: int = 0
    feedback: int = 0
    pending: int = 0
    approvals: int = 0
    stores: int = 0
    files: int = 0
    saved_prompts: int = 0
    authorships: int = 0
    mcp_servers: int = 0
    usage: int = 0

    def __add__(self, other: "ErasedData") -> "ErasedData":
        names = [field.name for field in fields(self)]
        return ErasedData(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def __bool__(self) -> bool:
        return self != ErasedData()


class Belongings(Protocol):
    """What a user has that belongs to no conversation."""

    async def count_user(self, user_id: str) -> int: ...
    async def erase_user(self, user_id: str) -> int: ...


class Erasure:
    """Removes conversations with their turns, approvals, transcripts and feedback. All methods raise StorageError.

    Files go first: whoever is cut off finds the conversation still, and can remove it again.
    """

    def __init__(
        self,
        conversations: Conversations,
        pending: PendingTurns,
        *,
        transcripts: Transcripts | None,
        feedback: FeedbackStore | None,
        paused: PausedTurns | None = None,
        belongings: Mapping[str, Belongings] | None = None,
    ) -> None:
        """`belongings` go by their names in ErasedData."""
        self._conversations = conversations
        self._paused = paused
        self._belongings = belongings or {}
        self._pending = pending
        self._transcripts = transcripts
        self._feedback = feedback

    async def conversation(self, conversation_id: str) -> bool:
        """Remove one conversation. False if it is not there."""
        waiting = (await self._pending.participants()).get(conversation_id, set())
        if self._paused is not None:
            waiting = waiting | await self._paused.participants(conversation_id)
        recorded = await self._conversations.participants(conversation_id)
        if not waiting and not recorded:
            return False
        await self._pending.discard_conversation(conversation_id)
        await self._remove({conversation_id: waiting | recorded})
        return True

    async def paused_conversation(self, conversation_id: str, user_id: str) -> bool:
        """Remove a user's conversation of which there is nothing but turns that wait for a person."""
        if self._paused is None or await self._paused.participants(conversation_id) != {user_id}:
            return False
        return await self.conversation(conversation_id)

    async def found(self, user_id: str) -> ErasedData:
        """What `user` would remove; of conversations with others, without the files that belong to those."""
        held = await self._conversations.count_user(user_id)
        counts = {name: await rows.count_user(user_id) for name, rows in self._belongings.items()}
        return ErasedData(**counts) + ErasedData(
            held.conversations,
            held.turns,
            await self._transcripts.count_user(user_id) if self._transcripts else 0,
            await self._feedback.count_user(user_id) if self._feedback else 0,
            await self._pending.count_user(user_id),
            await self._paused.count_user(user_id) if self._paused else 0,
        )

    async def user(self, user_id: str) -> ErasedData:
        """Remove all that is known of a user."""
        erased = ErasedData(
            pending=await self._pending.discard_user(user_id),
            approvals=await self._paused.erase_user(user_id) if self._paused else 0,
        )
        for name, rows in self._belongings.items():
            erased += ErasedData(**{name: await rows.erase_user(user_id)})
        erased += await self._files_by(user_id)
        while owned := await self._conversations.newest(user_id, limit=_AT_ONCE):
            ids = [conversation.id for conversation in owned]
            erased += await self._remove(await self._conversations.participants_of(ids))
        rest = await self._conversations.erase_user(user_id)
        erased += ErasedData(len(rest.conversations), rest.turns)
        # Again: a turn that ended meanwhile may have written its transcript.
        return erased + await self._files_by(user_id)

    async def conversations_resting_since(self, before: datetime) -> int:
        """Remove the conversations whose last message is older, a few at a time; returns how many.

        Those stay for which a turn waits to be recorded.
        """
        removed, last = 0, None
        while resting := await self._conversations.resting_since(before, _AT_ONCE, after=last):
            last = resting[-1]
            removed += await self._remove_resting(resting, before)
        return removed

    async def transcripts_before(self, before: datetime) -> int:
        """Remove older transcripts; returns how many."""
        return await self._transcripts.remove_older(before) if self._transcripts else 0

    async def feedback_before(self, before: datetime) -> int:
        """Remove older feedback; returns how many."""
        return await self._feedback.remove_older(before) if self._feedback else 0

    async def _remove_resting(self, resting: Sequence[Conversation], before: datetime) -> int:
        waiting = await self._pending.participants()
        ids = [conversation.id for conversation in resting if conversation.id not in waiting]
        participants = await self._conversations.participants_of(ids)
        for conversation_id in list(participants):
            try:
                await self._transcripts_of({conversation_id: participants[conversation_id]})
            except StorageError:
                # The log names the cause. It stays, and is tried again; the others do not wait for it.
                del participants[conversation_id]
        return (await self._remove(participants, resting_since=before)).conversations

    async def _remove(
        self, participants: Mapping[str, Set[str]], *, resting_since: datetime | None = None
    ) -> ErasedData:
        """Remove conversations, given with their participants."""
        if not participants:
            return ErasedData()
        transcripts = await self._transcripts_of(participants)
        feedback = await self._feedback_on(participants)
        gone = await self._conversations.take_away(participants, resting_since=resting_since)
        if self._paused is not None:
            # Also where nothing but a turn that waits is there of a conversation.
            await self._paused.erase_conversations(gone if resting_since else participants)
        # Again: a turn that ended meanwhile may have written its transcript.
        transcripts += await self._transcripts_of(gone)
        return ErasedData(len(gone), 0, transcripts, feedback)

    async def _transcripts_of(self, participants: Mapping[str, Set[str]]) -> int:
        if self._transcripts is None:
            return 0
        removed = 0
        for conversation_id, users in participants.items():
            for user_id in users:
                removed += await self._transcripts.remove(user_id, conversation_id)
        return removed

    async def _feedback_on(self, conversation_ids: Collection[str]) -> int:
        if self._feedback is None:
            return 0
        return await self._feedback.remove_conversations(conversation_ids)

    async def _files_by(self, user_id: str) -> ErasedData:
        transcripts = await self._transcripts.remove_user(user_id) if self._transcripts else 0
        feedback = await self._feedback.remove_user(user_id) if self._feedback else 0
        return ErasedData(transcripts=transcripts, feedback=feedback)
