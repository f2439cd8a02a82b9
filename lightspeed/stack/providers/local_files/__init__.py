"""Uploaded files in a folder of this machine, offered to the embedded Llama Stack.

The stack's run configuration names the provider so:

    providers:
      files:
      - provider_id: local
        provider_type: inline::local-files
        module: lightspeed.stack.providers.local_files
        config:
          path: /var/lib/lightspeed/files
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightspeed.stack.providers.local_files.adapter import LocalFiles
    from lightspeed.stack.providers.local_files.config import LocalFilesConfig

__all__ = ["get_provider_impl"]


async def get_provider_impl(config: "LocalFilesConfig", deps: dict[Any, Any]) -> "LocalFiles":
    """The provider, ready; the stack calls this once. Raises StartupError when its folder cannot be used."""
    from lightspeed.stack.providers.local_files.adapter import LocalFiles

    provider = LocalFiles(config)
    await provider.initialize()
    return provider
