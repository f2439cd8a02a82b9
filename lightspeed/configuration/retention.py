"""The section `retention`: how long data is kept."""

from pydantic import Field

from lightspeed.configuration.fields import PositiveInt
from lightspeed.configuration.section import Section


class RetentionConfiguration(Section):
    """Ages in days after which data is removed; null keeps it for good."""

    conversations_days: PositiveInt | None = Field(
        None, description="Conversations, after their last message."
    )
    transcripts_days: PositiveInt | None = Field(None, description="Transcripts.")
    feedback_days: PositiveInt | None = Field(None, description="Feedback.")

    @property
    def given(self) -> bool:
        """Whether anything is removed for its age."""
        return any((self.conversations_days, self.transcripts_days, self.feedback_days))
