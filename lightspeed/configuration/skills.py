"""The section `skills`: where agent skills lie."""

from pydantic import Field

from lightspeed.configuration.fields import ExistingDirectory
from lightspeed.configuration.section import Section


class SkillsConfiguration(Section):
    """Skill directories."""

    paths: tuple[ExistingDirectory, ...] = Field(
        (), description="Directories of one skill each, or of several skill directories."
    )
