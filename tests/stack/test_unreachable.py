"""Why a server cannot be reached, whatever the HTTP client calls it."""

import socket
from collections.abc import Iterator

import httpx
import pytest
from openai import APIConnectionError, AsyncOpenAI, DefaultAioHttpClient, DefaultAsyncHttpxClient

from lightspeed.errors import ProviderUnavailable
from lightspeed.stack.openai_errors import openai_error
from lightspeed.stack.unreachable import why_unreachable
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.anyio


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def failure(client: httpx.AsyncClient, address: str) -> APIConnectionError:
    async with AsyncOpenAI(base_url=address, api_key="any", http_client=client, max_retries=0) as model:
        with pytest.raises(APIConnectionError) as failed:
            await model.models.list()
    return failed.value


@pytest.mark.parametrize("kind", [DefaultAioHttpClient, DefaultAsyncHttpxClient])
async def test_a_refused_connection_is_no_timeout(kind: type[httpx.AsyncClient], closed_port: int) -> None:
    error = await failure(kind(), f"http://127.0.0.1:{closed_port}/v1")
    assert why_unreachable(error) == "the connection was refused"
    mapped = openai_error(error, "acme/m1")
    assert type(mapped) is ProviderUnavailable
    assert mapped.cause == "The model provider cannot be reached: the connection was refused."


@pytest.mark.parametrize("kind", [DefaultAioHttpClient, DefaultAsyncHttpxClient])
async def test_a_server_without_tls(kind: type[httpx.AsyncClient]) -> None:
    async with ScriptedModel() as model:
        error = await failure(kind(), model.base_url.replace("http:", "https:"))
    assert why_unreachable(error) == "it does not speak TLS as expected"


def test_others_do_not_tell() -> None:
    assert why_unreachable(httpx.ReadTimeout("late")) is None
    circle = ValueError()
    circle.__cause__ = circle
    assert why_unreachable(circle) is None
