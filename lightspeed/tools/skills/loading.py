"""Finding skills and reading them, strictly: a skill with a mistake is a mistake of the configuration."""

import os
from collections.abc import Iterator
from pathlib import Path

from lightspeed.configuration.skills import SkillsConfiguration
from lightspeed.errors import ConfigurationError
from lightspeed.tools.skills.directory import MANIFEST, SkillDirectory, SkillFileError
from lightspeed.tools.skills.manifest import Manifest
from lightspeed.tools.skills.skill import Skill


def load_skills(settings: SkillsConfiguration) -> list[Skill]:
    """All skills below `paths`, in that order. Blocks.

    Raises ConfigurationError; its lines begin with the key of the path, as in `skills.paths[0]`.
    """
    skills: dict[str, Skill] = {}
    problems: list[str] = []
    seen = 0
    for position, path in enumerate(settings.paths):
        try:
            for label, name, directory in _directories(path, f"skills.paths[{position}]"):
                seen += 1
                if seen > settings.max_skills:
                    problems.append(
                        f"{label}: there are more than `max_skills` = {settings.max_skills} skills"
                    )
                    raise ConfigurationError(problems)
                try:
                    skill = _skill(label, name, directory, settings)
                except ConfigurationError as error:
                    problems += error.problems
                    continue
                if skills.setdefault(skill.name, skill) is not skill:
                    problems.append(f"{label}: `{skill.name}` is the name of another skill too")
        except SkillFileError as error:
            problems.append(f"skills.paths[{position}]: {error}")
    if problems:
        raise ConfigurationError(problems)
    return list(skills.values())


def _directories(path: Path, key: str) -> Iterator[tuple[str, str, SkillDirectory]]:
    """Each skill directory: how it is called in messages, its name, and its files."""
    if os.path.lexists(path / MANIFEST):
        # The name as it is given: a link may be called otherwise than what it leads to.
        yield key, Path(os.path.abspath(path)).name, SkillDirectory(path)  # noqa: PTH100 - keeps links
        return
    try:
        names = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    except OSError:
        raise SkillFileError("may not be read") from None
    names = [name for name in names if not name.startswith(".")]
    if not names:
        raise SkillFileError(f"holds neither {MANIFEST} nor directories of skills")
    for name in names:
        yield f"{key}: {name}", name, SkillDirectory(path, name)


def _skill(label: str, name: str, directory: SkillDirectory, settings: SkillsConfiguration) -> Skill:
    try:
        directory.check()
    except SkillFileError as error:
        raise ConfigurationError(f"{label}: {error}") from None
    problems: list[str] = []
    manifest, files = None, []
    try:
        manifest = Manifest.parsed(directory.read(MANIFEST, settings.max_file_bytes), name)
    except SkillFileError as error:
        problems.append(f"{label}: {MANIFEST}: {error}")
    except ConfigurationError as error:
        problems += [f"{label}: {MANIFEST}: {problem}" for problem in error.problems]
    try:
        files = directory.files(settings.max_files)
    except SkillFileError as error:
        problems.append(f"{label}: {error}")
    problems = list(dict.fromkeys(problems))
    if manifest is None or problems:
        raise ConfigurationError(problems)
    return Skill(manifest.name, manifest.description, manifest.instructions, tuple(files), directory)
