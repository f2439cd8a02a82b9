"""The section `service`: where and how the web server listens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from lightspeed.configuration.fields import ExistingFile, NonNegativeInt, Port, PositiveInt, Text, WebAddress
from lightspeed.configuration.section import KeyPath, Section


class TLSConfiguration(Section):
    """Certificate and key; both or neither."""

    tls_certificate_path: ExistingFile | None = Field(None, description="Certificate chain, PEM.")
    tls_key_path: ExistingFile | None = Field(None, description="Private key, PEM.")
    tls_key_password: ExistingFile | None = Field(None, description="File that holds the key's password.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.tls_certificate_path and not self.tls_key_path:
            yield ("tls_key_path",), "is required beside `tls_certificate_path`"
        if self.tls_key_path and not self.tls_certificate_path:
            yield ("tls_certificate_path",), "is required beside `tls_key_path`"
        if self.tls_key_password and not self.tls_key_path:
            yield ("tls_key_password",), "has no use without `tls_key_path`"
        if self.tls_key_path and not self.tls_key_password and _is_encrypted(self.tls_key_path):
            yield ("tls_key_password",), "is required, because the key is encrypted"


def _is_encrypted(key: Path) -> bool:
    try:
        text = key.read_bytes()
    except OSError:
        return False
    return b"BEGIN ENCRYPTED PRIVATE KEY" in text or b"Proc-Type: 4,ENCRYPTED" in text


class CORSConfiguration(Section):
    """Which pages of other origins a browser lets call the service."""

    allow_origins: tuple[str, ...] = Field(("*",), description="Origins; `*` is every origin.")
    allow_credentials: bool = Field(False, description="Whether browsers may send cookies and credentials.")
    allow_methods: tuple[str, ...] = Field(("*",), description="HTTP methods; `*` is every method.")
    allow_headers: tuple[str, ...] = Field(("*",), description="Request headers; `*` is every header.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.allow_credentials and "*" in self.allow_origins:
            yield ("allow_credentials",), "cannot be true while `allow_origins` holds `*`; list the origins"


class LimitsConfiguration(Section):
    """How much one request may ask for, and how many there may be."""

    max_body_bytes: PositiveInt = Field(20 * 1024 * 1024, description="Request body, bytes.")
    max_query_characters: PositiveInt = Field(200_000, description="Question, characters.")
    max_attachments: NonNegativeInt = Field(20, description="Attachments of one question.")
    max_attachment_characters: PositiveInt = Field(2_000_000, description="One attachment, characters.")
    max_tool_rounds: PositiveInt = Field(10, description="Rounds of tool calls in one turn.")
    turn_timeout_seconds: PositiveInt = Field(600, description="Longest time of one turn, seconds.")
    requests_per_minute: NonNegativeInt = Field(
        0, description="Requests of one user to one process; 0 is any."
    )
    max_concurrent_turns: NonNegativeInt = Field(
        0, description="Turns at once in one process; 0 is any number."
    )
    max_concurrent_turns_per_user: NonNegativeInt = Field(
        0, description="Turns of one user at once in one process; 0 is any number."
    )


class ServiceConfiguration(Section):
    """The web server."""

    host: Text = Field("localhost", description="Name or address to listen on.")
    port: Port = Field(8080, description="TCP port to listen on.")
    base_url: WebAddress | None = Field(None, description="Public address, shown in the A2A agent card.")
    auth_enabled: bool = Field(False, description="Accepted, without effect; see `authentication.module`.")
    workers: PositiveInt = Field(1, description="Number of processes.")
    color_log: bool = Field(True, description="Colours in the log on a terminal.")
    log_format: Literal["text", "json"] = Field("text", description="Log lines for people, or for programs.")
    access_log: bool = Field(True, description="One log line for each request.")
    tls_config: TLSConfiguration = Field(TLSConfiguration(), description="TLS certificate and key.")
    root_path: str = Field("", description="Path prefix given by a proxy, such as `/assistant`.")
    cors: CORSConfiguration = Field(CORSConfiguration(), description="Cross-origin rules.")
    heartbeat_seconds: NonNegativeInt = Field(
        20, description="Silence after which a stream gets a comment line, seconds; 0 is never."
    )
    limits: LimitsConfiguration = Field(LimitsConfiguration(), description="Bounds of one request.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            yield ("root_path",), "must be empty, or begin with `/` and not end with `/`"
        elif "//" in self.root_path or not set(self.root_path).isdisjoint("?#\\ \t\n"):
            yield ("root_path",), "must not hold `//`, `?`, `#`, `\\` or blanks"
