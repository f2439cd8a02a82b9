"""What the stack has to know before it loads the provider."""

from llama_stack_api import Api, InlineProviderSpec

_PACKAGE = "lightspeed.stack.providers.faiss_sqlite"


def get_provider_spec() -> InlineProviderSpec:
    """The specification of `inline::faiss-sqlite`, found by the stack through `module:` in run.yaml."""
    return InlineProviderSpec(
        api=Api.vector_io,
        provider_type="inline::faiss-sqlite",
        module=_PACKAGE,
        config_class=f"{_PACKAGE}.config.FaissSqliteConfig",
        pip_packages=[],
        api_dependencies=[Api.inference],
        optional_api_dependencies=[Api.files],
        description="Vector stores in SQLite files, searched by FAISS and by BM25, that grow chunk by chunk.",
    )
