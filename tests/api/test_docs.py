import re
from typing import Any

import pytest
from starlette.applications import Starlette

from lightspeed.api.docs import Documentation
from lightspeed.api.errors import exception_handlers
from lightspeed.api.openapi import openapi_document
from tests.api.declared_api import ask, client

pytestmark = pytest.mark.anyio


def documented(built: list[int] | None = None) -> Starlette:
    def build() -> dict[str, Any]:
        if built is not None:
            built.append(1)
        return openapi_document([ask()], title="Service", version="1")

    return Starlette(
        routes=Documentation(build, title="<Service>").routes(), exception_handlers=exception_handlers()
    )


async def test_document_is_built_once() -> None:
    built: list[int] = []
    async with client(documented(built), None) as http:
        first = await http.get("/openapi.json")
        second = await http.get("/docs/openapi.json")
    assert first.json()["openapi"] == "3.1.1"
    assert second.json()["openapi"] == "3.0.3"
    assert first.headers["content-type"] == "application/json"
    assert built == [1]


async def test_page_needs_nothing_from_elsewhere() -> None:
    async with client(documented(), None) as http:
        page = await http.get("/docs")
        links = re.findall(r'(?:src|href)="([^"]*)"', page.text)
        answers = {link: await http.get(f"/{link}") for link in links}
    assert "&lt;Service&gt;" in page.text
    assert set(answers) == {
        "docs/swagger-ui.css",
        "docs/favicon-32x32.png",
        "docs/swagger-ui-bundle.js",
        "docs/start.js",
    }
    assert {answer.status_code for answer in answers.values()} == {200}
    assert 'url: "docs/openapi.json"' in answers["docs/start.js"].text
    assert "SwaggerUIBundle" in answers["docs/swagger-ui-bundle.js"].text


async def test_page_runs_packaged_scripts_only() -> None:
    async with client(documented(), None) as http:
        page = await http.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert not re.search(r"<script>|<script [^>]*>[^<]|\son\w+=", page.text)


@pytest.mark.parametrize("name", ["index.html", "..%2f__init__.py", "swagger-ui.js", "%2e%2e"])
async def test_other_files_are_not_served(name: str) -> None:
    async with client(documented(), None) as http:
        assert (await http.get(f"/docs/{name}")).status_code == 404


async def test_redoc_leads_to_the_page() -> None:
    async with client(documented(), None) as http:
        response = await http.get("/redoc")
    assert (response.status_code, response.headers["location"]) == (307, "docs")
