from collections.abc import Iterator

import pytest

from tests.storage.collection.ingress import IngressServer


@pytest.fixture
def server() -> Iterator[IngressServer]:
    with IngressServer() as server:
        yield server


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector goes through a proxy if the environment names one; the tests' server is here."""
    monkeypatch.setenv("NO_PROXY", "*")
