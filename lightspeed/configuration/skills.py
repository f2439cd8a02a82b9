"""The section `skills`: where agent skills lie."""

from pydantic import Field

from lightspeed.configuration.fields import ExistingDirectory, PositiveInt
from lightspeed.configuration.section import Section


class SkillsConfiguration(Section):
    """Skill directories, and how much of them is taken."""

    paths: tuple[ExistingDirectory, ...] = Field(
        (), description="Directories of one skill each, or of several skill directories."
    )
    max_skills: PositiveInt = Field(100, description="Most skills; the model reads all their descriptions.")
    max_files: PositiveInt = Field(100, description="Most files of one skill, without SKILL.md.")
    max_file_bytes: PositiveInt = Field(
        100_000, description="Largest file of a skill that the model reads, bytes."
    )
