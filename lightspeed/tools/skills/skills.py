"""Agent skills: instructions that the model loads when it needs them."""

import posixpath
from collections.abc import Iterable, Sequence
from typing import Self

from anyio import to_thread

from lightspeed.configuration.skills import SkillsConfiguration
from lightspeed.tools.skills import wording
from lightspeed.tools.skills.directory import SkillFileError
from lightspeed.tools.skills.loading import load_skills
from lightspeed.tools.skills.skill import Skill
from lightspeed.tools.skills.skill_tool import SkillTool
from lightspeed.tools.tool import Tool, ToolOutcome

ACTIVATE_SKILL = "activate_skill"
PROVIDER_ID = "agent-skills"
TOOLGROUP_ID = "builtin::agent-skills"
_LONGEST_SHOWN = 200  # characters of what a model has made up


class Skills:
    """All skills of the configuration, read once. Without any there are no tools, and nothing for the prompt."""

    def __init__(self, skills: Iterable[Skill], max_file_bytes: int) -> None:
        """A file with more than `max_file_bytes` is not read."""
        self._skills = {skill.name: skill for skill in skills}
        self._max_file_bytes = max_file_bytes

    @classmethod
    def load(cls, settings: SkillsConfiguration | None) -> Self:
        """Read all skills; None has none. Blocks.

        Raises ConfigurationError with a line for each mistake, which begins with `skills.paths[...]`.
        """
        settings = settings or SkillsConfiguration()
        return cls(load_skills(settings), settings.max_file_bytes)

    @property
    def catalogue(self) -> Sequence[Skill]:
        return list(self._skills.values())

    def prompt(self, active: Sequence[str]) -> str:
        """What the system prompt says about skills, with the content of those that the conversation has activated.

        So their instructions stay, however old the activation is. Names that no longer exist are left out.
        """
        if not self._skills:
            return ""
        return wording.prompt(self.catalogue, self._known(active))

    def tools(self, active: Sequence[str]) -> Sequence[Tool]:
        """Tools for one turn of a conversation that has activated some skills before.

        They know of each other's calls: a skill is loaded once only.
        """
        if not self._skills:
            return ()
        loaded = {skill.name for skill in self._known(active)}
        names = list(self._skills)

        async def list_skills() -> ToolOutcome:
            return _success(wording.catalogue(self.catalogue))

        async def activate_skill(name: str) -> ToolOutcome:
            skill = self._skills.get(name)
            if skill is None:
                return self._unknown(name)
            if name in loaded:
                return _failure(wording.already_loaded(skill))
            loaded.add(name)
            return _success(wording.content(skill))

        return (
            SkillTool("list_skills", "List the skills: names and descriptions.", {}, list_skills, _error),
            SkillTool(
                ACTIVATE_SKILL,
                "Load the instructions of a skill, once, before a task that matches its description.",
                {"name": {"type": "string", "enum": names, "description": "Name of the skill."}},
                activate_skill,
                _error,
            ),
            SkillTool(
                "load_skill_resource",
                "Read a file of a skill.",
                {
                    "skill_name": {"type": "string", "enum": names, "description": "Name of the skill."},
                    "path": {"type": "string", "description": "Path of the file, as the skill lists it."},
                },
                self._load_resource,
                _error,
            ),
        )

    async def _load_resource(self, skill_name: str, path: str) -> ToolOutcome:
        skill = self._skills.get(skill_name)
        if skill is None:
            return self._unknown(skill_name)
        name, shown = posixpath.normpath(path), path[:_LONGEST_SHOWN]
        if name.startswith(("/", "../")) or name == "..":
            return _error(f"The path {shown!a} leads out of the skill {skill.name}.")
        # Only what was there at the start; what lies beside it may not be meant for anyone.
        if name not in skill.files:
            return _error(f"The skill {skill.name} has no file {shown!a}. {_list_of_files(skill)}")
        try:
            text = await to_thread.run_sync(skill.directory.read, name, self._max_file_bytes)
        except SkillFileError as error:
            return _error(f"The file {name} of the skill {skill.name} {error}.")
        return _success(wording.resource(skill, name, text))

    def _known(self, names: Sequence[str]) -> list[Skill]:
        return [self._skills[name] for name in dict.fromkeys(names) if name in self._skills]

    def _unknown(self, name: str) -> ToolOutcome:
        return _error(f"There is no skill {name[:_LONGEST_SHOWN]!a}. There are: {', '.join(self._skills)}.")


def _list_of_files(skill: Skill) -> str:
    return f"Its files: {', '.join(skill.files)}." if skill.files else "It has no files."


def _success(text: str) -> ToolOutcome:
    return ToolOutcome("success", text, text)


def _failure(text: str) -> ToolOutcome:
    return ToolOutcome("failure", text, text)


def _error(text: str) -> ToolOutcome:
    return _failure(wording.failure(text))
