"""What the stack's loader asks for: the description of this provider."""

from llama_stack_api import Api, InlineProviderSpec

PACKAGE = "lightspeed.stack.providers.llamacpp"


def get_provider_spec() -> InlineProviderSpec:
    """The provider type `inline::llamacpp` of the inference API."""
    return InlineProviderSpec(
        api=Api.inference,
        provider_type="inline::llamacpp",
        module=PACKAGE,
        config_class=f"{PACKAGE}.config.LlamaCppConfig",
        pip_packages=["xllamacpp"],
        description="One GGUF model on llama.cpp, inside the process of the service.",
    )
