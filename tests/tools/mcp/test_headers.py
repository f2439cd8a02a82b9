import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from lightspeed.tools.caller import Caller
from lightspeed.tools.mcp.headers import HeaderResolver, ResolvedHeaders
from lightspeed.tools.mcp.server import McpServer

pytestmark = pytest.mark.anyio


def server(authorization: Mapping[str, str] | None = None, *headers: str, **fields: Any) -> McpServer:
    given: dict[str, Any] = {"name": "s", "url": "http://s/mcp"} | fields
    return McpServer(**given, authorization_headers=authorization or {}, headers=headers)


def caller(token: str = "", headers: Mapping[str, str] | None = None, **for_server: str) -> Caller:
    named = {name.replace("_", "-"): value for name, value in for_server.items()}
    return Caller("u", token, headers or {}, {"s": named, "unknown": {"X": "1"}})


async def resolved(one: McpServer, asks: Caller, **options: bool) -> ResolvedHeaders:
    [headers] = await HeaderResolver(**options).resolve([one], asks)
    return headers


async def secret(path: Path, text: str) -> str:
    await to_thread.run_sync(path.write_text, text)
    return str(path)


async def test_a_file_is_sent_trimmed(tmp_path: Path) -> None:
    file = await secret(tmp_path / "key", "  k-1\n")
    headers = await resolved(server({"X-Key": file}), caller())
    assert headers.lasting == {"X-Key": "k-1"}
    assert headers.authorizes
    assert not headers.missing
    assert "k-1" not in repr(headers)


async def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    resolver = HeaderResolver()
    one = server({"X-Key": await secret(tmp_path / "key", "old")})
    [before] = await resolver.resolve([one], caller())
    await secret(tmp_path / "new", "new")
    # As Kubernetes rotates a secret: of the same size, put in place of the old one.
    await to_thread.run_sync(os.replace, tmp_path / "new", tmp_path / "key")
    [after] = await resolver.resolve([one], caller())
    assert (before.lasting, after.lasting) == ({"X-Key": "old"}, {"X-Key": "new"})
    assert before.digest(one) != after.digest(one)


@pytest.mark.parametrize("text", [None, "", " \n", "two\nlines", "a\x00b"])
async def test_a_file_that_gives_nothing_leaves_the_header_missing(
    tmp_path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "key"
    if text is not None:
        await secret(path, text)
    resolver = HeaderResolver()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            [headers] = await resolver.resolve([server({"X-Key": str(path)})], caller())
    assert headers.missing == ["X-Key"]
    assert len(caplog.records) == 1
    await secret(path, "there")
    [headers] = await resolver.resolve([server({"X-Key": str(path)})], caller())
    assert not headers.missing


@pytest.mark.parametrize("token", ["t-1", "Bearer t-1", "bearer  t-1 "])
async def test_the_callers_token_has_its_scheme_once(token: str) -> None:
    headers = await resolved(server({"Authorization": "kubernetes"}), caller(token))
    assert headers.lasting == {"Authorization": "Bearer t-1"}


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer ", "a\nb"])
async def test_without_a_token_the_header_is_missing(token: str) -> None:
    headers = await resolved(server({"Authorization": "kubernetes"}), caller(token))
    assert headers.missing == ["Authorization"]
    assert not headers.lasting


async def test_a_token_of_another_kind_is_not_sent() -> None:
    one = server({"Authorization": "kubernetes"}, source="api")
    headers = await resolved(one, caller("jwt"), kubernetes_tokens=False)
    assert headers.missing == ["Authorization"]


@pytest.mark.parametrize("source", ["client", "oauth"])
async def test_a_client_gives_its_own(source: str) -> None:
    one = server({"Authorization": source})
    assert (await resolved(one, caller(authorization="Bearer u"))).lasting == {"Authorization": "Bearer u"}
    assert (await resolved(one, caller())).missing == ["Authorization"]


@pytest.mark.parametrize(
    ("given", "sent"), [("u-1", "Bearer u-1"), ("Bearer u-1", "Bearer u-1"), ("Basic dTpw", "Basic dTpw")]
)
async def test_an_authorization_without_a_scheme_gets_one(given: str, sent: str) -> None:
    headers = await resolved(server({"authorization": "client"}), caller(Authorization=given))
    assert headers.lasting == {"authorization": sent}


async def test_headers_of_the_request_are_passed_on_under_the_configured_name() -> None:
    asks = caller(headers={"x-tenant": " blue ", "x-other": "no"})
    headers = await resolved(server({}, "X-Tenant", "X-Absent"), asks)
    assert headers.lasting == {"X-Tenant": "blue"}
    assert not headers.missing
    assert not headers.authorizes


async def test_a_passed_on_authorization_counts_as_credentials() -> None:
    asks = caller(headers={"authorization": "Basic x"})
    headers = await resolved(server({}, "Authorization"), asks)
    assert headers.authorizes
    assert headers.lasting == {"Authorization": "Basic x"}


async def test_sources_come_in_order(tmp_path: Path) -> None:
    file = await secret(tmp_path / "key", "from-file")
    one = server({"X-A": file, "X-B": "kubernetes", "X-C": file}, "x-a", "x-b", "x-c", "x-d")
    passed = {f"x-{letter}": "passed" for letter in "abcd"}
    headers = await resolved(one, caller("t", passed, X_a="from-client"))
    assert {name.lower(): value for name, value in headers.lasting.items()} == {
        "x-a": "from-client",
        "x-b": "Bearer t",
        "x-c": "from-file",
        "x-d": "passed",
    }
    assert len(headers.lasting) == 4


async def test_only_declared_names_are_taken_from_the_client() -> None:
    asks = caller(X_Key="k", X_Other="o", Cookie="c", X_Trace="t")
    headers = await resolved(server({"x-key": "client"}, "X-Trace"), asks)
    assert headers.lasting == {"x-key": "k", "X-Trace": "t"}


async def test_a_declared_name_may_come_from_any_source() -> None:
    headers = await resolved(server({"X-Key": "client"}, "X-Key"), caller(headers={"x-key": "passed"}))
    assert headers.lasting == {"X-Key": "passed"}
    assert not headers.missing


async def test_names_of_the_connection_are_never_sent() -> None:
    one = server({"Host": "client"}, "Content-Length", "Mcp-Session-Id", "X-A")
    asks = caller(headers={"content-length": "0", "mcp-session-id": "s", "x-a": "1"}, Host="evil")
    headers = await resolved(one, asks)
    assert headers.lasting == {"X-A": "1"}
    assert headers.missing == ["Host"]


async def test_a_file_is_never_read_for_a_server_of_a_user(tmp_path: Path) -> None:
    file = await secret(tmp_path / "key", "k-1")
    headers = await resolved(server({"X-Key": file}, source="api"), caller())
    assert headers.missing == ["X-Key"]


async def test_credentials_part_connections_and_names_of_requests_do_not() -> None:
    one = server({"X-Key": "client"}, "X-Tenant", "traceparent")

    async def digest(key: str, tenant: str, trace: str) -> str:
        asks = caller(headers={"x-tenant": tenant, "traceparent": trace}, X_Key=key)
        return (await resolved(one, asks)).digest(one)

    first = await digest("k", "blue", "00-1")
    assert await digest("k", "blue", "00-2") == first
    assert await digest("other", "blue", "00-1") != first
    assert await digest("k", "red", "00-1") != first
    assert len(first) == 64
