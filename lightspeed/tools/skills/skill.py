"""What a skill is."""

from dataclasses import dataclass, field

from lightspeed.tools.skills.directory import SkillDirectory


@dataclass(frozen=True, slots=True)
class Skill:
    """Instructions that the model may load. `files` are relative paths, which `directory` reads."""

    name: str
    description: str
    instructions: str
    files: tuple[str, ...]
    directory: SkillDirectory = field(repr=False, compare=False)
