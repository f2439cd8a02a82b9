"""What the stack has to know before it loads the provider."""

from llama_stack_api import Api, InlineProviderSpec

_PACKAGE = "lightspeed.stack.providers.litellm"


def get_provider_spec() -> InlineProviderSpec:
    """The specification of `inline::litellm`, found by the stack through `module:` in run.yaml."""
    return InlineProviderSpec(
        api=Api.inference,
        provider_type="inline::litellm",
        module=_PACKAGE,
        config_class=f"{_PACKAGE}.config.LitellmConfig",
        pip_packages=["litellm"],
        description="Any remote model that the Python package litellm reaches.",
    )
