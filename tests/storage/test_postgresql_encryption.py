import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lightspeed.errors import StartupError
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.postgresql import PostgresqlConnections, PostgresqlSettings, SslMode
from tests.postgresql import Postgresql
from tests.storage.certificates import Authority
from tests.storage.proxy import Kind, Proxy, proxy_to
from tests.storage.turns import a_turn

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the server's certificate and key, and certificates of its authority, of another, and of none."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority.make("An authority")
    certificate, key = authority.server("127.0.0.1")
    (folder / "server.pem").write_bytes(certificate + key)
    (folder / "right.pem").write_bytes(authority.certificate)
    (folder / "wrong.pem").write_bytes(Authority.make("Another authority").certificate)
    (folder / "none.pem").write_text("no certificate")
    return folder


@pytest.fixture(scope="module")
def tls(certificates: Path) -> ssl.SSLContext:
    """What a server with encryption needs."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.pem")
    return context


@asynccontextmanager
async def opened(
    server: Postgresql, proxy: Proxy, mode: SslMode, authorities: Path | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Database]:
    url = server.url(server.emptied_database()).set(
        drivername="postgresql+asyncpg", host=host, port=proxy.port
    )
    settings = PostgresqlSettings(ssl_mode=mode, ca_certificates=authorities)
    database = Database(url, PostgresqlConnections(url, settings))
    await database.open()
    try:
        assert await Conversations(database).record(a_turn(), begins=True)
        yield database
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("mode", "authorities", "kind"),
    [
        ("disable", None, "clear"),
        ("allow", None, "clear"),
        ("prefer", None, "encrypted"),
        ("prefer", "wrong.pem", "encrypted"),
        ("require", None, "encrypted"),
        ("require", "right.pem", "encrypted"),
        ("verify-ca", "right.pem", "encrypted"),
        ("verify-full", "right.pem", "encrypted"),
    ],
)
async def test_the_connection_is_as_private_as_it_is_asked_to_be(
    postgresql: Postgresql,
    certificates: Path,
    tls: ssl.SSLContext,
    mode: SslMode,
    authorities: str | None,
    kind: Kind,
) -> None:
    file = certificates / authorities if authorities else None
    async with proxy_to(postgresql.port, tls=tls) as proxy, opened(postgresql, proxy, mode, file):
        assert set(proxy.passed) == {kind}


@pytest.mark.parametrize(
    ("mode", "authorities", "host"),
    [
        ("require", "wrong.pem", "127.0.0.1"),
        ("verify-ca", "wrong.pem", "127.0.0.1"),
        ("verify-full", "wrong.pem", "127.0.0.1"),
        ("verify-full", None, "127.0.0.1"),
        ("verify-full", "right.pem", "localhost"),
    ],
)
async def test_a_server_that_cannot_prove_itself_is_refused(
    postgresql: Postgresql,
    certificates: Path,
    tls: ssl.SSLContext,
    mode: SslMode,
    authorities: str | None,
    host: str,
) -> None:
    file = certificates / authorities if authorities else None
    async with proxy_to(postgresql.port, tls=tls) as proxy:
        with pytest.raises(StartupError, match="CERTIFICATE_VERIFY_FAILED") as raised:
            async with opened(postgresql, proxy, mode, file, host):
                pass
        assert "\n" not in str(raised.value)
        assert proxy.passed == []


async def test_only_the_strictest_mode_looks_at_the_name(
    postgresql: Postgresql, certificates: Path, tls: ssl.SSLContext
) -> None:
    file = certificates / "right.pem"
    async with (
        proxy_to(postgresql.port, tls=tls) as proxy,
        opened(postgresql, proxy, "verify-ca", file, "localhost"),
    ):
        assert set(proxy.passed) == {"encrypted"}


@pytest.mark.parametrize("file", ["none.pem", "missing.pem"])
async def test_certificates_that_cannot_be_read_are_named(
    postgresql: Postgresql, certificates: Path, tls: ssl.SSLContext, file: str
) -> None:
    async with proxy_to(postgresql.port, tls=tls) as proxy:
        with pytest.raises(StartupError, match=file):
            async with opened(postgresql, proxy, "verify-ca", certificates / file):
                pass


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_a_server_without_encryption_is_refused(postgresql: Postgresql, mode: SslMode) -> None:
    async with proxy_to(postgresql.port) as proxy:
        with pytest.raises(StartupError, match="rejected SSL"):
            async with opened(postgresql, proxy, mode):
                pass


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
async def test_others_do_without_encryption(postgresql: Postgresql, mode: SslMode) -> None:
    async with proxy_to(postgresql.port) as proxy, opened(postgresql, proxy, mode):
        assert set(proxy.passed) == {"clear"}


@pytest.mark.parametrize(
    ("refused", "mode", "kind"),
    [
        ("clear", "allow", "encrypted"),
        ("encrypted", "prefer", "clear"),
        ("clear", "prefer", "encrypted"),
        ("encrypted", "allow", "clear"),
    ],
)
async def test_the_other_kind_is_tried_where_the_server_wants_it(
    postgresql: Postgresql, tls: ssl.SSLContext, refused: Kind, mode: SslMode, kind: Kind
) -> None:
    async with (
        proxy_to(postgresql.port, tls=tls, refuses=refused) as proxy,
        opened(postgresql, proxy, mode),
    ):
        assert set(proxy.passed) == {kind}


@pytest.mark.parametrize(("refused", "mode"), [("clear", "disable"), ("encrypted", "require")])
async def test_the_other_kind_is_not_tried_where_it_is_not_wanted(
    postgresql: Postgresql, tls: ssl.SSLContext, refused: Kind, mode: SslMode
) -> None:
    async with proxy_to(postgresql.port, tls=tls, refuses=refused) as proxy:
        with pytest.raises(StartupError, match="pg_hba"):
            async with opened(postgresql, proxy, mode):
                pass
        assert proxy.passed == []


@pytest.mark.parametrize("mode", ["prefer", "require"])
async def test_files_of_the_home_directory_have_no_say(
    postgresql: Postgresql,
    tls: ssl.SSLContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: SslMode,
) -> None:
    (tmp_path / ".postgresql").mkdir()
    for name in ("root.crt", "root.crl", "postgresql.crt", "postgresql.key"):
        (tmp_path / ".postgresql" / name).write_text("broken")
    monkeypatch.setenv("HOME", str(tmp_path))
    async with proxy_to(postgresql.port, tls=tls) as proxy, opened(postgresql, proxy, mode):
        assert set(proxy.passed) == {"encrypted"}
