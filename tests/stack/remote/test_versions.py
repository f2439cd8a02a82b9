"""Which versions are spoken to."""

import pytest

from lightspeed.stack.remote.versions import unsupported


@pytest.mark.parametrize(
    "version", ["0.4.0", "0.6.0", "0.7.3", "0.7.99", "llama-stack 0.5.1", "0.6.0rc2", "0.7.3+build"]
)
def test_supported(version: str) -> None:
    assert unsupported(version) is None


@pytest.mark.parametrize("version", ["0.2.17", "0.3.5", "0.8.0", "1.0.2", "10.5.0"])
def test_not_supported(version: str) -> None:
    assert unsupported(version) == f"its version {version} is not supported; 0.4.0 to 0.7.x are"


@pytest.mark.parametrize("version", ["", "unknown", "0.7"])
def test_no_version(version: str) -> None:
    assert unsupported(version) == "it does not tell its version; 0.4.0 to 0.7.x are supported"
