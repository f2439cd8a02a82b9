"""Reading pages from the web, only from hosts that are named and only from addresses that are checked."""

import codecs
from collections.abc import Iterable
from dataclasses import replace
from email.message import Message
from pathlib import PurePosixPath

import anyio
import httpx
from anyio import to_thread

from lightspeed import __version__
from lightspeed.documents.addresses import addresses_of, normal_host, refusal
from lightspeed.documents.document import MAX_BYTES, Document, UnsupportedFormat
from lightspeed.documents.finding import DocumentError
from lightspeed.documents.formats.registry import format_of
from lightspeed.documents.parsing import DocumentParser

_MOST_REDIRECTS = 5
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)  # seconds, each for one step
_FILE_NAMES = {
    "text/html": "page.html",
    "application/xhtml+xml": "page.html",
    "text/markdown": "page.md",
    "text/x-markdown": "page.md",
    "text/x-rst": "page.rst",
    "text/prs.fallenstein.rst": "page.rst",
    "text/asciidoc": "page.adoc",
    "text/x-asciidoc": "page.adoc",
    "application/pdf": "page.pdf",
    "application/json": "page.json",
    "application/x-ndjson": "page.jsonl",
    "application/jsonl": "page.jsonl",
    "application/yaml": "page.yaml",
    "application/x-yaml": "page.yaml",
    "text/yaml": "page.yaml",
    "text/x-yaml": "page.yaml",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "page.docx",
}
# What servers say of files that they do not know; the address tells more.
_UNSPECIFIC = frozenset({"", "text/plain", "application/octet-stream", "binary/octet-stream"})


def is_address(text: str) -> bool:
    """Whether something that is to be read is a web address and no path."""
    return text.lower().startswith(("http://", "https://"))


class PageReader:
    """Reads single pages; no link is followed but redirects.

    `hosts` are the host names that may be read from, exactly as written in addresses. Each of them, and each
    target of a redirect, is resolved once, its addresses are checked, and the connection goes to a checked
    one. `allow_private` admits named hosts inside of private networks and on this machine. Proxies of the
    environment are not used: they would resolve the name again. `seconds` is the time for one page.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        *,
        allow_private: bool = False,
        max_bytes: int = MAX_BYTES,
        seconds: float = 120.0,
    ) -> None:
        self._hosts = frozenset(normal_host(host) for host in hosts)
        self._allow_private = allow_private
        self._max_bytes = max_bytes
        self._seconds = seconds

    def check(self, address: str) -> str:
        """The address as it names the document.

        Raises DocumentError if it may not be read, as far as that is known without the network.
        """
        return str(self._checked(address))

    async def read(self, address: str, parser: DocumentParser) -> Document:
        """One page as a document, named by its address. Raises DocumentError."""
        url = self._checked(address)
        try:
            with anyio.fail_after(self._seconds):
                final, response, data = await self._fetched(url)
        except TimeoutError:
            raise DocumentError(str(url), f"took more than {self._seconds:.0f} s") from None
        except DocumentError as error:
            if error.path == str(url):
                raise
            raise DocumentError(str(url), f"leads to {error}") from None
        file_name, charset = await to_thread.run_sync(_format_and_charset, final, response)
        if charset:
            data = _utf8(data, charset)
        document = await parser.parse(data, name=str(url), file_name=file_name, max_bytes=self._max_bytes)
        return document if document.url else replace(document, url=str(final))

    def _checked(self, address: str) -> httpx.URL:
        try:
            url = httpx.URL(address).copy_with(fragment=None)
        except (httpx.InvalidURL, ValueError):
            raise DocumentError(address.partition("?")[0], "not a web address") from None
        if url.userinfo:
            bare = url.copy_with(username=None, password=None)
            raise DocumentError(str(bare), "an address must not hold a user name or a password")
        if url.scheme not in ("http", "https") or not url.host:
            raise DocumentError(str(url), "only http and https addresses are read")
        if normal_host(url.host) not in self._hosts:
            raise DocumentError(str(url), f"the host is not allowed (--allow-url {url.host})")
        return url

    async def _fetched(self, url: httpx.URL) -> tuple[httpx.URL, httpx.Response, bytes]:
        # Made in a thread: it reads the certificates from disk.
        client = await to_thread.run_sync(_client)
        async with client:
            for _ in range(_MOST_REDIRECTS + 1):
                response = await self._response(client, url)
                try:
                    if not response.has_redirect_location:
                        return url, response, await self._body(url, response)
                finally:
                    await response.aclose()
                url = self._checked(str(url.join(response.headers["location"])))
        raise DocumentError(str(url), f"more than {_MOST_REDIRECTS} redirects")

    async def _response(self, client: httpx.AsyncClient, url: httpx.URL) -> httpx.Response:
        """The answer of the first machine behind a name that can be reached, its body not read yet."""
        problem = "no address"
        for address in await self._addresses(url):
            request = client.build_request(
                "GET",
                url.copy_with(host=address),
                headers={"Host": url.netloc.decode("ascii")},
                extensions={"sni_hostname": url.raw_host.decode("ascii").strip("[]")},
            )
            try:
                return await client.send(request, stream=True)
            except httpx.ConnectError as error:
                problem = "no connection: " + " ".join(str(error).split())
            except httpx.TimeoutException:
                problem = "no answer in time"
            except httpx.HTTPError as error:
                problem = "broken answer: " + type(error).__name__
        raise DocumentError(str(url), problem)

    async def _addresses(self, url: httpx.URL) -> list[str]:
        """The addresses of a host. One that is refused refuses them all."""
        host = url.raw_host.decode("ascii").strip("[]")
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            addresses = await addresses_of(host, port)
        except OSError:
            raise DocumentError(str(url), "unknown host") from None
        for address in addresses:
            if reason := refusal(address, allow_private=self._allow_private):
                raise DocumentError(str(url), reason)
        return addresses

    async def _body(self, url: httpx.URL, response: httpx.Response) -> bytes:
        if response.status_code != httpx.codes.OK:
            raise DocumentError(str(url), f"{response.status_code} {response.reason_phrase}".rstrip())
        data = bytearray()
        try:
            async for part in response.aiter_bytes(64 * 1024):
                data += part
                if len(data) > self._max_bytes:
                    raise DocumentError(str(url), f"more than the limit of {self._max_bytes} bytes")
        except httpx.HTTPError as error:
            raise DocumentError(str(url), "broken answer: " + type(error).__name__) from None
        return bytes(data)


def _client() -> httpx.AsyncClient:
    certificates = httpx.create_ssl_context()
    certificates.load_default_certs()  # those of the machine, too
    return httpx.AsyncClient(
        verify=certificates,
        timeout=_TIMEOUT,
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": f"lightspeed/{__version__}", "Accept-Encoding": "identity"},
    )


def _format_and_charset(url: httpx.URL, response: httpx.Response) -> tuple[str, str | None]:
    """The name of a file of the same format, and the encoding that the server names."""
    header = Message()
    header["Content-Type"] = response.headers.get("content-type", "")
    kind = header.get_content_type() if response.headers.get("content-type") else ""
    charset = header.get_param("charset")
    last = PurePosixPath(url.path).name
    file_name = _FILE_NAMES.get(kind)
    if file_name is None and kind in _UNSPECIFIC:
        file_name = last if format_of(last) else ("page.txt" if kind == "text/plain" else None)
    if file_name is None:
        raise UnsupportedFormat(str(url), f"unsupported type {kind}" if kind else "unsupported type")
    return file_name, charset if isinstance(charset, str) and kind.startswith(
        ("text/", "application/x")
    ) else None


def _utf8(data: bytes, charset: str) -> bytes:
    """The text as UTF-8 with its mark, which comes before what the page says of itself."""
    try:
        return codecs.BOM_UTF8 + data.decode(charset).removeprefix("\ufeff").encode()
    except (LookupError, ValueError):
        return data
