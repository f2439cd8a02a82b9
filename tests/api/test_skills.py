from pathlib import Path

import pytest
from anyio import to_thread

from tests.api.declared_api import client
from tests.api.declared_prompts import prompts_application
from tests.tools.skills.folders import DESCRIPTION, loaded, skill_text, write_skill

pytestmark = pytest.mark.anyio


async def test_skills_are_listed_by_name_and_description(tmp_path: Path) -> None:
    def made() -> Path:
        write_skill(tmp_path / "skills", files={"a.md": "a"})
        write_skill(tmp_path / "skills", "other", skill_text("other", "Does <other> things."))
        return tmp_path / "skills"

    skills = await to_thread.run_sync(lambda: loaded(made()))
    async with prompts_application(skills) as app, client(app) as http:
        response = await http.get("/v1/skills")
    assert response.status_code == 200
    assert response.json() == {
        "skills": [
            {"name": "disk-triage", "description": DESCRIPTION},
            {"name": "other", "description": "Does <other> things."},
        ]
    }


async def test_without_skills_the_list_is_empty() -> None:
    async with prompts_application() as app:
        async with client(app) as http:
            assert (await http.get("/v1/skills")).json() == {"skills": []}
        for user, status in ((None, 401), ("guest", 403)):
            async with client(app, user) as http:
                assert (await http.get("/v1/skills")).status_code == status
