"""The section `saved_prompts`: texts that users keep for later."""

from typing import Annotated

from pydantic import Field

from lightspeed.configuration.fields import PositiveInt
from lightspeed.configuration.section import Section


class SavedPromptsConfiguration(Section):
    """Limits for each user."""

    max_prompts_per_user: Annotated[PositiveInt, Field(le=200)] = Field(
        50, description="Most saved prompts of a user."
    )
    # PostgreSQL has an index on the names, whose entries must not have more than 2,700 bytes.
    max_display_name_length: Annotated[PositiveInt, Field(le=500)] = Field(
        255, description="Longest name, characters."
    )
    max_content_length: Annotated[PositiveInt, Field(le=30_000)] = Field(
        10_000, description="Longest text, characters."
    )
