"""Skills on disk, for tests."""

from pathlib import Path
from typing import Any

from lightspeed.configuration.skills import SkillsConfiguration
from lightspeed.tools.skills.skills import Skills

DESCRIPTION = "Finds what fills a disk. Use when a host reports low space."
INSTRUCTIONS = "Run the checks in order. Thresholds: references/limits.md"


def skill_text(name: str = "disk-triage", description: str = DESCRIPTION, body: str = INSTRUCTIONS) -> str:
    return f"---\nname: {name}\ndescription: {description}\n---\n{body}\n"


def write_skill(
    parent: Path,
    name: str = "disk-triage",
    text: str | None = None,
    files: dict[str, str | bytes] | None = None,
) -> Path:
    """A skill directory; `text` is its SKILL.md."""
    directory = parent / name
    directory.mkdir(parents=True)
    (directory / "SKILL.md").write_text(skill_text(name) if text is None else text)
    for path, content in (files or {}).items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


def loaded(*paths: Path, **settings: Any) -> Skills:
    return Skills.load(SkillsConfiguration(paths=paths, **settings))
