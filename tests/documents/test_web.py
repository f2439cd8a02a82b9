"""Pages read from a real server on this machine, and everything that is refused."""

import gzip
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lightspeed.documents import addresses
from lightspeed.documents.document import (
    Document,
    DocumentError,
    EmptyDocument,
    UnsupportedFormat,
    document_id,
)
from lightspeed.documents.parsing import DocumentParser
from lightspeed.documents.web import PageReader
from tests.storage.certificates import Authority

pytestmark = pytest.mark.anyio

HTML = b"<html><title>Setup</title><body><h1>Setup</h1><p>Run it.</p></body></html>"


@dataclass(frozen=True)
class Answer:
    body: bytes = HTML
    headers: Mapping[str, str] | None = None
    status: int = 200
    pause: float = 0.0


class Site:
    """A web server with given answers; `asked` holds paths and Host headers."""

    def __init__(self, answers: Mapping[str, Answer], certificate: Path | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append((self.path, self.headers["Host"]))
                answer = answers.get(self.path, Answer(status=404))
                self.send_response(answer.status)
                for name, value in (answer.headers or {"Content-Type": "text/html"}).items():
                    self.send_header(name, value.replace("{port}", str(site.port)))
                self.end_headers()
                time.sleep(answer.pause)
                self.wfile.write(answer.body)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


type Serve = Callable[..., Site]


@pytest.fixture
def serve() -> Iterator[Serve]:
    sites: list[Site] = []

    def start(certificate: Path | None = None, **answers: Answer) -> Site:
        sites.append(Site({f"/{path}": answer for path, answer in answers.items()}, certificate))
        return sites[-1]

    yield start
    for site in sites:
        site.close()


def reader(*hosts: str, **options: Any) -> PageReader:
    return PageReader(hosts or ("127.0.0.1",), **{"allow_private": True, **options})


async def read(pages: PageReader, address: str) -> Document:
    async with DocumentParser() as parser:
        return await pages.read(address, parser)


async def read_one(serve: Serve, answer: Answer, path: str = "page", **options: Any) -> Document:
    site = serve(**{path: answer})
    return await read(reader(**options), f"http://127.0.0.1:{site.port}/{path}")


async def refused(pages: PageReader, address: str) -> str:
    with pytest.raises(DocumentError) as caught:
        await read(pages, address)
    assert "\n" not in str(caught.value)
    return caught.value.cause


async def test_a_page_becomes_a_document_named_by_its_address(serve: Serve) -> None:
    site = serve(page=Answer())
    address = f"http://127.0.0.1:{site.port}/page"
    found = await read(reader(), f"{address}#part")
    assert (found.name, found.url, found.title) == (address, address, "Setup")
    assert found.id == document_id(reader().check(f"{address}#other"))
    assert [section.text for section in found.sections] == ["Run it."]
    assert site.asked == [("/page", f"127.0.0.1:{site.port}")]


@pytest.mark.parametrize(
    ("kind", "path", "body", "text"),
    [
        ("text/markdown; charset=utf-8", "page", b"# A\n\n*x*", "*x*"),
        ("text/plain", "notes.md", b"# A\n\nx", "x"),
        ("text/plain", "raw", b"# A", "# A"),
        ("application/octet-stream", "a.rst", b"A\n=\n\n:ref:`x`", "x"),
        ("application/json", "api", b'{"a": 1}', "a: 1"),
        ("text/html; charset=windows-1251", "page", "<p>Размер</p>".encode("cp1251"), "Размер"),
        ("text/plain; charset=nonsense", "page", "Größe".encode(), "Größe"),
    ],
)
async def test_the_content_type_tells_the_format(
    serve: Serve, kind: str, path: str, body: bytes, text: str
) -> None:
    found = await read_one(serve, Answer(body, {"Content-Type": kind}), path)
    assert found.sections[-1].text == text


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "video/mp4"])
async def test_other_types_are_not_read(serve: Serve, kind: str) -> None:
    with pytest.raises(UnsupportedFormat):
        await read_one(serve, Answer(b"x", {"Content-Type": kind}))


async def test_empty_pages_and_failures(serve: Serve) -> None:
    with pytest.raises(EmptyDocument):
        await read_one(serve, Answer(b""))
    with pytest.raises(DocumentError, match="404 Not Found"):
        await read_one(serve, Answer(status=404))
    with pytest.raises(DocumentError, match="broken answer"):
        await read_one(serve, Answer(b"x", {"Content-Type": "text/html", "Content-Length": "9"}))


async def test_a_page_that_is_too_large_is_not_read_to_its_end(serve: Serve) -> None:
    with pytest.raises(DocumentError, match="more than the limit of 1000 bytes"):
        await read_one(serve, Answer(b"x" * 1_000_000), max_bytes=1000)
    packed = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
    with pytest.raises(DocumentError, match="more than the limit of 100000 bytes"):
        await read_one(serve, Answer(gzip.compress(b"x" * 50_000_000), packed), max_bytes=100_000)


async def test_a_page_that_takes_too_long(serve: Serve) -> None:
    with pytest.raises(DocumentError, match="took more than"):
        await read_one(serve, Answer(pause=0.5), seconds=0.1)


async def test_redirects_are_followed_to_allowed_hosts_only(serve: Serve) -> None:
    site = serve(
        old=Answer(b"", {"Location": "/page"}, 301),
        page=Answer(),
        other=Answer(b"", {"Location": "http://localhost:{port}/page"}, 302),
        odd=Answer(b"", {"Location": "file:///etc/hostname"}, 302),
        loop=Answer(b"", {"Location": "/loop"}, 302),
        metadata=Answer(b"", {"Location": "http://169.254.169.254/latest"}, 302),
    )
    base = f"http://127.0.0.1:{site.port}"
    found = await read(reader(), f"{base}/old")
    assert (found.name, found.url) == (f"{base}/old", f"{base}/page")
    assert await refused(reader(), f"{base}/other") == (
        f"leads to http://localhost:{site.port}/page: the host is not allowed (--allow-url localhost)"
    )
    assert "only http and https" in await refused(reader(), f"{base}/odd")
    assert "redirects" in await refused(reader(), f"{base}/loop")
    assert "not allowed" in await refused(reader(), f"{base}/metadata")
    assert "metadata" in await refused(reader("127.0.0.1", "169.254.169.254"), f"{base}/metadata")
    assert len([path for path, _ in site.asked if path == "/page"]) == 1


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("http://example.org/", "not allowed"),
        ("http://docs.example.com.evil.org/", "not allowed"),
        ("http://evil.org/?docs.example.com", "not allowed"),
        ("http://docs.example.com@evil.org/", "user name"),
        ("http://user:secret@docs.example.com/", "user name"),
        ("ftp://docs.example.com/", "only http"),
        ("http:///x", "only http"),
        ("http://[::1", "not a web address"),
        ("http://docs.example.com:port/", "not a web address"),
    ],
)
async def test_addresses_are_refused_without_the_network(
    address: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any, **__: Any) -> list[Any]:
        raise AssertionError("resolved")

    monkeypatch.setattr(addresses, "getaddrinfo", never)
    pages = PageReader(["docs.example.com"])
    with pytest.raises(DocumentError, match=cause) as caught:
        pages.check(address)
    assert "secret" not in str(caught.value)
    assert cause in await refused(pages, address)


async def test_private_addresses_need_the_option(serve: Serve) -> None:
    site = serve(page=Answer())
    for host in ("127.0.0.1", "localhost"):
        address = f"http://{host}:{site.port}/page"
        assert "--allow-private" in await refused(reader(host, allow_private=False), address)
        assert (await read(reader(host), address)).title == "Setup"
    assert [host for _, host in site.asked] == [f"127.0.0.1:{site.port}", f"localhost:{site.port}"]


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Names resolve to the given addresses, one list after the other; returns the names asked for."""
    asked: list[str] = []
    given = iter(answers)

    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(2, 1, 6, "", (address, port)) for address in next(given)]

    monkeypatch.setattr(addresses, "getaddrinfo", resolve)
    return asked


async def test_a_name_is_resolved_once_and_the_checked_address_is_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = serve(page=Answer())
    asked = resolving(monkeypatch, ["127.0.0.1"])
    found = await read(reader("Docs.Example.com."), f"http://docs.example.com:{site.port}/page")
    assert found.title == "Setup"
    assert asked == ["docs.example.com"]
    assert site.asked == [("/page", f"docs.example.com:{site.port}")]


async def test_one_bad_address_among_several_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    pages = reader("docs.example.com", allow_private=False)
    assert "10.0.0.1 is a private address" in await refused(pages, "https://docs.example.com/")


async def test_names_that_do_not_resolve_and_closed_ports(serve: Serve) -> None:
    assert await refused(reader("nowhere.invalid"), "http://nowhere.invalid/") == "unknown host"
    site = serve()
    port = site.port
    site.close()
    assert "no connection" in await refused(reader(), f"http://127.0.0.1:{port}/")


async def test_certificates_are_checked_against_the_name(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority.make("Test authority")
    (tmp_path / "server.pem").write_bytes(b"".join(authority.server("127.0.0.1")))
    (tmp_path / "authority.pem").write_bytes(authority.certificate)
    site = serve(tmp_path / "server.pem", page=Answer())
    assert "no connection" in await refused(reader(), f"https://127.0.0.1:{site.port}/page")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    assert (await read(reader(), f"https://127.0.0.1:{site.port}/page")).title == "Setup"
    # The same machine under a name that is not in its certificate.
    resolving(monkeypatch, ["127.0.0.1"])
    other = await refused(reader("docs.example.com"), f"https://docs.example.com:{site.port}/page")
    assert "no connection" in other
