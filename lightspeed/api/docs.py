"""The documentation of the API: `/openapi.json` and, from packaged files only, the page `/docs`."""

import html
import json
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

_FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_HEADERS = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_START = """\
SwaggerUIBundle({url: "docs/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: "none"});
"""
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""


class Documentation:
    """Serves the document that `build` makes; `build` runs once, in a thread, on the first request."""

    def __init__(self, build: Callable[[], dict[str, Any]], *, title: str) -> None:
        self._build = build
        self._page = _PAGE.format(title=html.escape(title))
        self._lock = anyio.Lock()
        self._document: dict[str, bytes] = {}
        self._folder: Path | None = None

    def routes(self) -> list[Route]:
        """`/openapi.json`, `/docs` with its files, and `/redoc`, which leads to `/docs`. All are public."""
        return [
            Route("/openapi.json", self._openapi),
            Route("/docs", self._show),
            Route("/docs/openapi.json", self._openapi_3_0),
            Route("/docs/start.js", self._start),
            Route("/docs/{name}", self._file),
            Route("/redoc", self._redirect),
        ]

    async def _openapi(self, _: Request) -> Response:
        return Response(await self._rendered("3.1"), media_type="application/json")

    async def _openapi_3_0(self, _: Request) -> Response:
        return Response(await self._rendered("3.0"), media_type="application/json")

    async def _show(self, _: Request) -> Response:
        return HTMLResponse(self._page, headers={"Content-Security-Policy": _POLICY, **_HEADERS})

    async def _start(self, _: Request) -> Response:
        return Response(_START, media_type="text/javascript", headers=_HEADERS)

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FILES:
            raise HTTPException(404)
        if self._folder is None:
            self._folder = await anyio.to_thread.run_sync(_swagger_ui)
        return FileResponse(self._folder / name, headers=_HEADERS)

    async def _redirect(self, _: Request) -> Response:
        return RedirectResponse("docs")

    async def _rendered(self, version: str) -> bytes:
        async with self._lock:
            if not self._document:
                self._document = await anyio.to_thread.run_sync(self._render)
        return self._document[version]

    def _render(self) -> dict[str, bytes]:
        from lightspeed.api.openapi_3_0 import as_3_0

        document = self._build()
        return {"3.1": json.dumps(document).encode(), "3.0": json.dumps(as_3_0(document)).encode()}


def _swagger_ui() -> Path:
    import swagger_ui_bundle

    # Read here, in a thread: the first response with a file would read it in the event loop.
    mimetypes.init()
    return Path(swagger_ui_bundle.swagger_ui_path)
