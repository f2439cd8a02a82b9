"""The routes of prompts and skills on a database in memory, for tests of their own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx

from lightspeed.api import prompts, saved_prompts, skills
from lightspeed.configuration.saved_prompts import SavedPromptsConfiguration
from lightspeed.storage.database import Database
from lightspeed.storage.prompts import Prompts
from lightspeed.storage.saved_prompts import SavedPrompts
from lightspeed.tools.skills.skills import Skills
from tests.api.declared_api import application

ENDPOINTS = (*skills.ENDPOINTS, *prompts.ENDPOINTS, *saved_prompts.ENDPOINTS)


@asynccontextmanager
async def prompts_application(known_skills: Skills | None = None, **limits: Any) -> AsyncIterator[Any]:
    """`limits` are keys of the section `saved_prompts`."""
    database = Database.in_memory()
    await database.open()
    parts = SimpleNamespace(
        skills=known_skills or Skills.load(None),
        prompts=Prompts(database),
        saved_prompts=SavedPrompts(database),
    )
    configuration = SimpleNamespace(saved_prompts=SavedPromptsConfiguration(**limits), authorization=None)
    runtime = SimpleNamespace(services=parts, plan=SimpleNamespace(configuration=configuration))
    yield application(ENDPOINTS, services=lambda request: runtime)
    await database.close()


def error(response: httpx.Response) -> tuple[int, str, str]:
    detail = response.json()["detail"]
    return response.status_code, detail["response"], detail["cause"]


def faults(response: httpx.Response) -> list[tuple[list[Any], str]]:
    """Places and messages of a refused body or query."""
    assert response.status_code == 422
    return [(fault["loc"], fault["msg"]) for fault in response.json()["detail"]]
