"""Azure providers of the embedded stack that sign their calls with tokens."""

from typing import Any

from llama_stack.providers.remote.inference.azure.azure import AzureInferenceAdapter

from lightspeed.stack.azure_tokens import AzureTokens


def sign_with_tokens(provider: Any, tokens: AzureTokens) -> None:
    """Let a provider of the type `remote::azure` ask `tokens` before each call, also if it has a key; others stay.

    OpenAI's client takes a function in place of a key. So client and connections outlive the token.
    """
    if not isinstance(provider, AzureInferenceAdapter):
        return
    kind = type(provider)
    ask = tokens.token  # the same object each time: clients are kept by their key
    signing = type(
        kind.__name__,
        (kind,),
        {"_get_api_key_from_config_or_provider_data": lambda self: ask, "__module__": kind.__module__},
    )
    object.__setattr__(provider, "__class__", signing)
