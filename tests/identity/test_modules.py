"""The module that the configuration names."""

import subprocess
import sys
from typing import Any, get_args

import pytest
from anyio import to_thread

from lightspeed.configuration.authentication import AuthenticationConfiguration
from lightspeed.errors import RequestError
from lightspeed.identity.modules import authentication
from tests.identity.asking import request

pytestmark = pytest.mark.anyio

KEYS = {"url": "http://127.0.0.1:9/jwks"}
MODULES: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "noop": ({}, None, "NoAuthentication"),
    "noop-with-token": ({}, "authorization", "UncheckedTokenAuthentication"),
    "api-key-token": ({"api_key_config": {"api_key": "k"}}, "authorization", "ApiKeyAuthentication"),
    "jwk-token": ({"jwk_config": KEYS}, "authorization", "JwkTokenAuthentication"),
    "rh-identity": ({"rh_identity_config": {}}, "x-rh-identity", "RHIdentityAuthentication"),
    "k8s": ({}, "authorization", "KubernetesAuthentication"),
    "trusted-proxy": ({"trusted_proxy_config": {}}, "authorization", "TrustedProxyAuthentication"),
}


def test_every_module_is_here() -> None:
    annotation = AuthenticationConfiguration.model_fields["module"].annotation
    assert set(MODULES) == set(get_args(annotation))


@pytest.mark.parametrize("module", MODULES)
async def test_the_module(module: str) -> None:
    settings, credentials, kind = MODULES[module]
    # In a thread, as a program does it before its loop runs.
    configuration = AuthenticationConfiguration.model_validate({"module": module} | settings)
    authenticate = await to_thread.run_sync(authentication, configuration)
    try:
        assert type(authenticate).__name__ == kind
        assert authenticate.credentials == credentials
        if module == "noop":
            assert await authenticate(request())
            return
        with pytest.raises(RequestError) as caught:
            await authenticate(request())
        assert caught.value.status == 401
    finally:
        await authenticate.close()


def test_large_libraries_are_loaded_when_they_are_needed() -> None:
    program = (
        "import sys; from lightspeed.configuration.authentication import AuthenticationConfiguration as C;"
        "from lightspeed.identity.modules import authentication;"
        "authentication(C(module='noop'));"
        "authentication(C.model_validate({'module': 'jwk-token', 'jwk_config': {'url': 'https://k'}}));"
        "print([name for name in ('jwt', 'jsonpath_ng', 'cryptography', 'kubernetes_asyncio')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
