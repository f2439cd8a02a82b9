"""The server's end of a connection, within reach of the application."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TRANSPORT = "scripted_model.transport"


class CuttableProtocol(HttpToolsProtocol):
    """Puts the transport into the scope: ASGI has no way to close a connection before a response."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]
