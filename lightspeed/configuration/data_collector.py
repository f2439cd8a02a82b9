"""The section `data_collector` of `user_data_collection`: sending what is collected to an ingress server."""

import re
from collections.abc import Iterator

from pydantic import Field

from lightspeed.configuration.fields import PositiveInt, Secret, WebAddress
from lightspeed.configuration.section import KeyPath, Section

_SERVICE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_TOKEN = re.compile(r"[!-~]+")


class DataCollector(Section):
    """Feedback and transcripts, sent as tar.gz archives at each interval."""

    enabled: bool = Field(False, description="Whether feedback and transcripts are sent.")
    ingress_server_url: WebAddress | None = Field(
        None, description="Address that receives the archives. A user name in it counts without a token only."
    )
    ingress_server_auth_token: Secret | None = Field(
        None, description="Bearer token; without one there is no such header."
    )
    ingress_content_service_name: str | None = Field(
        None,
        description="Part of the media type of an archive, `application/vnd.redhat.<name>.periodic+tar`.",
    )
    collection_interval: PositiveInt = Field(7200, description="Time from one pass to the next, seconds.")
    cleanup_after_send: bool = Field(True, description="Whether files are removed once they are sent.")
    connection_timeout: PositiveInt = Field(30, description="Longest wait for the server, seconds.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        for key in ("ingress_server_url", "ingress_content_service_name"):
            if self.enabled and not getattr(self, key):
                yield (key,), "is required when `enabled` is true"
        name = self.ingress_content_service_name
        if name and not _SERVICE_NAME.fullmatch(name):
            yield (
                ("ingress_content_service_name",),
                "must be up to 64 lower case letters, digits and `-`, with no `-` at either end",
            )
        token = self.ingress_server_auth_token
        if token and not _TOKEN.fullmatch(token.get_secret_value()):
            # Such a token would be shown by the error of the HTTP library that refuses it.
            yield ("ingress_server_auth_token",), "must be printable ASCII without spaces or line breaks"
