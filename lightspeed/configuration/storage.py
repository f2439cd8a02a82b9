"""Where data is kept: databases, conversation history, feedback and transcripts."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from lightspeed.configuration.data_collector import DataCollector
from lightspeed.configuration.fields import (
    AnyPath,
    ExistingFile,
    Port,
    PositiveInt,
    Text,
    path_trouble,
)
from lightspeed.configuration.section import KeyPath, Section


class SQLiteDatabaseConfiguration(Section):
    """A SQLite file."""

    db_path: AnyPath = Field(description="Database file.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if str(self.db_path) == ":memory:":
            yield ("db_path",), "must be a file; `:memory:` is no place that processes share"


class PostgreSQLDatabaseConfiguration(Section):
    """A PostgreSQL database."""

    host: Text = Field("localhost", description="Host name.")
    port: Port = Field(5432, description="TCP port.")
    db: Text = Field(description="Database name.")
    user: Text = Field(description="User name.")
    password: SecretStr = Field(description="Password.")
    namespace: Text | None = Field("public", description="Schema that holds the tables.")
    ssl_mode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "prefer", description="How the connection is encrypted and checked."
    )
    gss_encmode: Literal["disable", "prefer", "require"] = Field("prefer", description="GSSAPI encryption.")
    ca_cert_path: ExistingFile | None = Field(None, description="Certificates that sign the server's one.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.gss_encmode == "require":
            yield ("gss_encmode",), "`require` is not possible: the driver has no GSSAPI encryption"


class _OneDatabase(Section):
    sqlite: SQLiteDatabaseConfiguration | None = Field(None, description="SQLite.")
    postgres: PostgreSQLDatabaseConfiguration | None = Field(None, description="PostgreSQL.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.sqlite and self.postgres:
            yield (), "takes `sqlite` or `postgres`, not both"


class DatabaseConfiguration(_OneDatabase):
    """The main database. A loaded file always names one: without any, SQLite in the state directory."""


class A2AStateConfiguration(_OneDatabase):
    """State of A2A tasks; without a database it is kept in memory."""


class InMemoryCacheConfig(Section):
    """Conversation history in memory."""

    max_entries: PositiveInt = Field(description="Conversations kept.")


class ConversationHistoryConfiguration(Section):
    """Conversation history behind the version 2 routes: `type` and the one block of that name."""

    type: Literal["noop", "memory", "sqlite", "postgres"] | None = Field(None, description="Kind of store.")
    memory: InMemoryCacheConfig | None = Field(None, description="For the type `memory`.")
    sqlite: SQLiteDatabaseConfiguration | None = Field(None, description="For the type `sqlite`.")
    postgres: PostgreSQLDatabaseConfiguration | None = Field(None, description="For the type `postgres`.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.type == "noop":
            return
        given = {"memory": self.memory, "sqlite": self.sqlite, "postgres": self.postgres}
        if self.type is not None and given[self.type] is None:
            yield (self.type,), f"is required by the type `{self.type}`"
        for name, block in given.items():
            if block is None or name == self.type:
                continue
            if self.type is None:
                yield ("type",), f"is required beside `{name}`"
            else:
                yield (name,), f"does not belong to the type `{self.type}`"


class UserDataCollection(Section):
    """Feedback and transcripts, each as JSON files in a directory."""

    feedback_enabled: bool = Field(False, description="Whether feedback is kept.")
    feedback_storage: AnyPath | None = Field(None, description="Directory of the feedback.")
    transcripts_enabled: bool = Field(False, description="Whether transcripts are kept.")
    transcripts_storage: AnyPath | None = Field(None, description="Directory of the transcripts.")
    data_collector: DataCollector = Field(DataCollector(), description="Sending them to an ingress service.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        yield from _storage_problems("feedback", self.feedback_enabled, self.feedback_storage)
        yield from _storage_problems("transcripts", self.transcripts_enabled, self.transcripts_storage)
        if not self.data_collector.enabled:
            return
        if not self.feedback_storage and not self.transcripts_storage:
            yield ("data_collector", "enabled"), "needs `feedback_storage` or `transcripts_storage`"
        elif self.feedback_storage == self.transcripts_storage:
            yield (
                ("transcripts_storage",),
                "must differ from `feedback_storage`, or the collector mixes the two",
            )


def _storage_problems(name: str, enabled: bool, storage: Path | None) -> Iterator[tuple[KeyPath, str]]:
    if not enabled:
        return
    key = f"{name}_storage"
    if storage is None:
        yield (key,), f"is required when `{name}_enabled` is true"
    elif reason := path_trouble(storage):
        yield (key,), reason
    elif storage.exists() and not storage.is_dir():
        yield (key,), "is not a directory"
    elif storage.exists() and not os.access(storage, os.W_OK | os.X_OK):
        yield (key,), "the directory cannot be written to"
