"""Skills as the model reads them: text with tags, as https://agentskills.io advises clients.

The text of a skill stays as it is, but for what looks like one of our own tags: no skill can end its own block, or
begin one that passes for another's.
"""

import re
from collections.abc import Iterable
from html import escape

from lightspeed.tools.skills.skill import Skill

_OWN_TAG = re.compile(r"<(?=\s*/?\s*(?:available_skills|skill_content|skill_resources?)\b)", re.IGNORECASE)

_RULES = """\
# Skills

Skills are instructions for particular tasks. Those that exist are listed below.
- If a task matches the description of a skill, call activate_skill with its name before you answer, and follow the \
instructions that it returns.
- If the instructions name a file, read it with load_skill_resource. Paths are relative to the skill's directory.
- Activate a skill once only, and only if you need it. Scripts of a skill can be read, but not run."""

_ACTIVE = "Skills that are active in this conversation already; follow them and do not activate them again:"


def catalogue(skills: Iterable[Skill]) -> str:
    """Names and descriptions."""
    lines = [
        f"<skill><name>{skill.name}</name><description>{escape(skill.description, quote=False)}</description></skill>"
        for skill in skills
    ]
    return "\n".join(["<available_skills>", *lines, "</available_skills>"])


def prompt(skills: Iterable[Skill], active: Iterable[Skill]) -> str:
    """Rules and catalogue, and the content of active skills."""
    contents = [content(skill) for skill in active]
    return "\n\n".join([_RULES, catalogue(skills), *([_ACTIVE, *contents] if contents else [])])


def content(skill: Skill) -> str:
    """An activated skill: instructions, and the files that can be read."""
    lines = [f'<skill_content name="{skill.name}">', _verbatim(skill.instructions), ""]
    lines.append(f"Directory of this skill: {skill.name}. Paths are relative to it.")
    if skill.files:
        files = [f"<file>{escape(name, quote=False)}</file>" for name in skill.files]
        lines += ["<skill_resources>", *files, "</skill_resources>"]
    return "\n".join([*lines, "</skill_content>"])


def resource(skill: Skill, name: str, text: str) -> str:
    """A file of a skill."""
    head = f'<skill_resource skill="{skill.name}" path="{escape(name)}">'
    return f"{head}\n{_verbatim(text)}\n</skill_resource>"


def already_loaded(skill: Skill) -> str:
    return (
        f"<note>The skill {skill.name} is already loaded in this conversation."
        " Follow its instructions; do not activate it again.</note>"
    )


def failure(text: str) -> str:
    return f"<error>{escape(text, quote=False)}</error>"


def _verbatim(text: str) -> str:
    return _OWN_TAG.sub("&lt;", text)
