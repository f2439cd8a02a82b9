"""What the stack has to know before it loads the provider."""

from llama_stack_api import Api, InlineProviderSpec

_PACKAGE = "lightspeed.stack.providers.onnx"


def get_provider_spec() -> InlineProviderSpec:
    """The specification of `inline::onnx`, found by the stack through `module:` in run.yaml."""
    return InlineProviderSpec(
        api=Api.inference,
        provider_type="inline::onnx",
        module=_PACKAGE,
        config_class=f"{_PACKAGE}.config.OnnxConfig",
        pip_packages=[],
        description="Text embeddings in process from ONNX model files, without torch.",
    )
