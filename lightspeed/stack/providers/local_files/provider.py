"""What the stack has to know before it loads the provider."""

from llama_stack_api import Api, InlineProviderSpec

_PACKAGE = "lightspeed.stack.providers.local_files"


def get_provider_spec() -> InlineProviderSpec:
    """The specification of `inline::local-files`, found by the stack through `module:` in run.yaml."""
    return InlineProviderSpec(
        api=Api.files,
        provider_type="inline::local-files",
        module=_PACKAGE,
        config_class=f"{_PACKAGE}.config.LocalFilesConfig",
        pip_packages=[],
        description="Uploaded files in a folder, each whole or not there, and never whole in memory.",
    )
