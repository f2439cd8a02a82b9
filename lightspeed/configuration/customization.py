"""The section `customization`: prompts and the agent card."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from lightspeed.configuration.document import read_document
from lightspeed.configuration.fields import AnyPath, ExistingFile
from lightspeed.configuration.section import KeyPath, Section, refuse
from lightspeed.errors import ConfigurationError


class CustomProfile(Section):
    """A profile module and the prompts that it holds, such as `default` and `topic_summary`."""

    path: AnyPath = Field(description="The module.")
    prompts: dict[str, str] = Field({}, description="Prompts by purpose.")


class Customization(Section):
    """What makes the assistant this product's own.

    The files are read when the section is validated: `profile_path` fills `custom_profile`,
    `system_prompt_path` replaces `system_prompt`, and `agent_card_path` replaces `agent_card_config`.
    A profile is Python code and is run.
    """

    profile_path: ExistingFile | None = Field(None, description="Python module with `PROFILE_CONFIG`.")
    disable_query_system_prompt: bool = Field(False, description="Requests may not bring a system prompt.")
    disable_shield_ids_override: bool = Field(False, description="Requests may not choose shields.")
    system_prompt_path: ExistingFile | None = Field(None, description="Text file with the system prompt.")
    system_prompt: str | None = Field(None, description="System prompt.")
    agent_card_path: ExistingFile | None = Field(None, description="YAML file with the A2A agent card.")
    agent_card_config: dict[str, Any] | None = Field(None, description="A2A agent card.")
    custom_profile: CustomProfile | None = Field(None, description="Prompts read from `profile_path`.")

    @model_validator(mode="after")
    def _read_files(self) -> Self:
        readers: list[tuple[str, Path | None, str, Callable[[Path], object]]] = [
            ("profile_path", self.profile_path, "custom_profile", _read_profile),
            ("system_prompt_path", self.system_prompt_path, "system_prompt", _read_prompt),
            ("agent_card_path", self.agent_card_path, "agent_card_config", _read_agent_card),
        ]
        found: list[tuple[KeyPath, str]] = []
        for key, path, target, read in readers:
            if path is None:
                continue
            try:
                # The model is frozen for everyone but its own validation.
                object.__setattr__(self, target, read(path))
            except ConfigurationError as error:
                found += [((key,), problem) for problem in error.problems]
        refuse(found)
        return self


def _read_prompt(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip()
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError("the file cannot be read as UTF-8 text") from None


def _read_agent_card(path: Path) -> dict[str, Any]:
    card = read_document(path)
    if not isinstance(card, dict):
        raise ConfigurationError("the file must hold a mapping")
    return card


def _read_profile(path: Path) -> CustomProfile:
    try:
        profile = runpy.run_path(str(path)).get("PROFILE_CONFIG")
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"the module fails with {type(error).__name__}") from None
    prompts = profile.get("system_prompts") if isinstance(profile, dict) else None
    if not isinstance(prompts, dict):
        raise ConfigurationError("the module must define `PROFILE_CONFIG` with a dict `system_prompts`")
    if not all(isinstance(text, str) for text in (*prompts, *prompts.values())):
        raise ConfigurationError("the keys and values of `system_prompts` must be text")
    return CustomProfile(path=path, prompts=prompts)
