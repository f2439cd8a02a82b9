"""What an operator decides about the Turn."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from lightspeed.configuration.root import Configuration

DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant"
DEFAULT_TOPIC_SUMMARY_PROMPT = (
    "Write a title of at most five words for a conversation that starts with the following question. "
    "Write only the title."
)


@dataclass(frozen=True, slots=True)
class AssistantSettings:
    """`context_windows` maps `provider/model` to tokens and wins over what a provider tells of its model.

    `topic_summary_prompt` asks a model to name a conversation after its first question. `turn_timeout` is in seconds.
    `max_turns` and `max_turns_per_user` say how many there may be at once; 0 is any number.
    """

    default_provider: str | None = None
    default_model: str | None = None
    system_prompt: str = DEFAULT_SYSTEM_PROMPT
    topic_summary_prompt: str = DEFAULT_TOPIC_SUMMARY_PROMPT
    request_may_set_system_prompt: bool = True
    context_windows: Mapping[str, int] = field(default_factory=dict)
    max_tool_rounds: int = 10
    turn_timeout: float = 600.0
    max_turns: int = 0
    max_turns_per_user: int = 0

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        customization, inference = configuration.customization, configuration.inference
        prompt = topic = None
        if customization is not None:
            profile = customization.custom_profile.prompts if customization.custom_profile else {}
            prompt = profile.get("default") or customization.system_prompt
            topic = profile.get("topic_summary")
        limits = configuration.service.limits
        return cls(
            default_provider=inference.default_provider,
            default_model=inference.default_model,
            system_prompt=prompt or DEFAULT_SYSTEM_PROMPT,
            topic_summary_prompt=topic or DEFAULT_TOPIC_SUMMARY_PROMPT,
            request_may_set_system_prompt=not (customization and customization.disable_query_system_prompt),
            context_windows=inference.context_windows,
            max_tool_rounds=limits.max_tool_rounds,
            turn_timeout=float(limits.turn_timeout_seconds),
            max_turns=limits.max_concurrent_turns,
            max_turns_per_user=limits.max_concurrent_turns_per_user,
        )
