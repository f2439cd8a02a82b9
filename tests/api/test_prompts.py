import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.api.declared_api import client
from tests.api.declared_prompts import error, faults, prompts_application

pytestmark = pytest.mark.anyio

P = "/v1/prompts"
NOWHERE = f"pmpt_{'0' * 48}"
UNDECLARED = "Value error, the prompt uses variables that are not declared: "


@pytest.fixture
async def app() -> AsyncIterator[Any]:
    async with prompts_application() as app:
        yield app


@pytest.fixture
async def http(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with client(app) as http:
        yield http


async def made(http: httpx.AsyncClient, prompt: str = "text 1", **more: Any) -> dict[str, Any]:
    response = await http.post(P, json={"prompt": prompt, **more})
    assert response.status_code == 201
    found: dict[str, Any] = response.json()
    return found


async def changed(http: httpx.AsyncClient, prompt_id: str, version: int, **more: Any) -> dict[str, Any]:
    body = {"prompt": f"text {version + 1}", "version": version, **more}
    response = await http.put(f"{P}/{prompt_id}", json=body)
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


async def test_a_prompt_is_made_and_read(http: httpx.AsyncClient, app: Any) -> None:
    prompt = await made(http, "You know {{ product }}.", variables=["product", "extra", "product"])
    assert re.fullmatch(r"pmpt_[0-9a-f]{48}", prompt["prompt_id"])
    assert prompt == {
        "prompt_id": prompt["prompt_id"],
        "version": 1,
        "is_default": True,
        "prompt": "You know {{ product }}.",
        "variables": ["product", "extra"],
    }
    async with client(app, "bob") as bob:
        for path in (prompt["prompt_id"], prompt["prompt_id"].upper(), f"{prompt['prompt_id']}?version=1"):
            read = await bob.get(f"{P}/{path}")
            assert (read.status_code, read.json()) == (200, prompt)


async def test_a_change_makes_a_version(http: httpx.AsyncClient) -> None:
    prompt_id = (await made(http))["prompt_id"]
    second = await changed(http, prompt_id, 1, prompt="Hi {{ a }}", variables=["a"])
    assert second == {
        "prompt_id": prompt_id,
        "version": 2,
        "is_default": True,
        "prompt": "Hi {{ a }}",
        "variables": ["a"],
    }
    third = await changed(http, prompt_id, 2, set_as_default=False)
    assert (third["version"], third["is_default"], third["variables"]) == (3, False, [])
    assert (await http.get(f"{P}/{prompt_id}")).json() == second
    assert (await http.get(f"{P}/{prompt_id}", params={"version": 3})).json() == third
    listed = (await http.get(f"{P}/{prompt_id}/versions")).json()
    assert [(entry["version"], entry["is_default"]) for entry in listed["data"]] == [
        (3, False),
        (2, True),
        (1, False),
    ]
    chosen = await http.put(f"{P}/{prompt_id}/default-version", json={"version": 1})
    assert (chosen.status_code, chosen.json()["version"], chosen.json()["is_default"]) == (200, 1, True)
    assert (await http.get(f"{P}/{prompt_id}")).json() == chosen.json()


async def test_an_older_version_cannot_be_changed(http: httpx.AsyncClient) -> None:
    prompt_id = (await made(http))["prompt_id"]
    bodies = [{"prompt": f"by {user}", "version": 1} for user in range(4)]
    answers = await asyncio.gather(*(http.put(f"{P}/{prompt_id}", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    late = await http.put(f"{P}/{prompt_id}", json=bodies[0])
    assert error(late) == (
        409,
        "Prompt has another version",
        f"The latest version of prompt {prompt_id} is 2, not 1.",
    )


async def test_the_list_holds_default_versions(http: httpx.AsyncClient) -> None:
    assert (await http.get(P)).json() == {"data": []}
    prompts = [await made(http, f"text {number}") for number in range(25)]
    prompts.sort(key=lambda prompt: prompt["prompt_id"], reverse=True)
    prompts[0] = await changed(http, prompts[0]["prompt_id"], 1)
    await changed(http, prompts[1]["prompt_id"], 1, set_as_default=False)
    assert (await http.get(P)).json() == {"data": prompts}


async def test_the_list_in_pages(http: httpx.AsyncClient) -> None:
    ids = sorted([(await made(http))["prompt_id"] for _ in range(5)], reverse=True)

    async def listed(**query: Any) -> tuple[list[str], bool]:
        answer = (await http.get(P, params=query)).json()
        found = [entry["prompt_id"] for entry in answer["data"]]
        assert (answer.get("first_id"), answer.get("last_id")) == (
            (found[0], found[-1]) if found else (None, None)
        )
        return found, answer["has_more"]

    assert await listed(limit=2) == (ids[:2], True)
    assert await listed(limit=2, after=ids[1]) == (ids[2:4], True)
    assert await listed(limit=2, after=ids[3]) == (ids[4:], False)
    assert await listed(after=ids[0]) == (ids[1:], False)
    assert await listed(before=ids[3], limit=2) == (ids[1:3], True)
    assert await listed(order="asc", limit=2) == (ids[:2:-1], True)
    assert await listed(after=ids[4]) == ([], False)
    assert [entry["prompt_id"] for entry in (await http.get(f"{P}?order=asc")).json()["data"]] == ids[::-1]
    assert error(await http.get(P, params={"after": NOWHERE})) == (
        404,
        "Prompt not found",
        f"Prompt with ID {NOWHERE} does not exist",
    )
    for limit in (0, 101, "many"):
        assert (await http.get(P, params={"limit": limit})).status_code == 422


async def test_deletion(http: httpx.AsyncClient) -> None:
    prompt_id = (await made(http))["prompt_id"]
    await changed(http, prompt_id, 1)
    for deleted, response in ((True, "Prompt deleted successfully"), (False, "Prompt not found")):
        answer = await http.delete(f"{P}/{prompt_id}")
        assert answer.status_code == 200
        assert answer.json() == {"deleted": deleted, "prompt_id": prompt_id, "response": response}
    assert (await http.get(f"{P}/{prompt_id}", params={"version": 1})).status_code == 404


async def test_what_is_not_there(http: httpx.AsyncClient) -> None:
    prompt_id = (await made(http))["prompt_id"]
    missing = (404, "Prompt not found", f"Prompt with ID {NOWHERE} does not exist")
    assert error(await http.get(f"{P}/{NOWHERE}")) == missing
    assert error(await http.get(f"{P}/{NOWHERE}/versions")) == missing
    assert error(await http.put(f"{P}/{NOWHERE}", json={"prompt": "a", "version": 1})) == missing
    assert error(await http.put(f"{P}/{NOWHERE}/default-version", json={"version": 1})) == missing
    for version in (0, -1, 2, 2**31, 10**30):
        answer = await http.get(f"{P}/{prompt_id}", params={"version": version})
        cause = f"Prompt with ID {prompt_id} and version {version} does not exist"
        assert error(answer) == (404, "Prompt not found", cause)
    wrong = await http.put(f"{P}/{prompt_id}/default-version", json={"version": 2**40})
    assert wrong.status_code == 404


@pytest.mark.parametrize("prompt_id", ["x", f"pmpt_{'0' * 40}", f"pmpt_{'g' * 48}", "0" * 48, f"{NOWHERE}0"])
async def test_ids_of_another_form(http: httpx.AsyncClient, prompt_id: str) -> None:
    expected = (400, "Invalid prompt ID format", f"The prompt ID {prompt_id} has invalid format.")
    path = f"{P}/{prompt_id}"
    assert error(await http.get(path)) == expected
    assert error(await http.put(path, json={"prompt": "a", "version": 1})) == expected
    assert error(await http.delete(path)) == expected
    assert error(await http.get(f"{path}/versions")) == expected
    assert error(await http.put(f"{path}/default-version", json={"version": 1})) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (["body", "prompt"], "Field required")),
        ({"prompt": ""}, (["body", "prompt"], "String should have at least 1 character")),
        ({"prompt": "x" * 100_001}, (["body", "prompt"], "String should have at most 100000 characters")),
        ({"prompt": "a", "name": "n"}, (["body", "name"], "Extra inputs are not permitted")),
        ({"prompt": "{{ a }} {{b}} {{ c }}", "variables": ["b"]}, (["body"], f"{UNDECLARED}a, c")),
        ({"prompt": "{{ a }}"}, (["body"], f"{UNDECLARED}a")),
        (
            {"prompt": "a", "variables": ["two words"]},
            (["body", "variables", 0], "String should match pattern"),
        ),
        ({"prompt": "a", "variables": ["a\n"]}, (["body", "variables", 0], "String should match pattern")),
        ({"prompt": "a", "variables": "a"}, (["body", "variables"], "Input should be a valid list")),
        (
            {"prompt": "a", "variables": ["a"] * 101},
            (["body", "variables"], "List should have at most 100 items"),
        ),
    ],
)
async def test_bodies_that_are_refused(
    http: httpx.AsyncClient, body: dict[str, Any], expected: tuple[list[Any], str]
) -> None:
    prompt_id = (await made(http))["prompt_id"]
    for answer in (
        await http.post(P, json=body),
        await http.put(f"{P}/{prompt_id}", json={"version": 1, **body}),
    ):
        ((place, message),) = faults(answer)
        assert place == expected[0]
        assert message.startswith(expected[1])
    assert len((await http.get(f"{P}/{prompt_id}/versions")).json()["data"]) == 1


async def test_versions_that_are_refused(http: httpx.AsyncClient) -> None:
    prompt_id = (await made(http))["prompt_id"]
    assert faults(await http.put(f"{P}/{prompt_id}", json={"prompt": "a"})) == [
        (["body", "version"], "Field required")
    ]
    zero = [(["body", "version"], "Input should be greater than 0")]
    assert faults(await http.put(f"{P}/{prompt_id}", json={"prompt": "a", "version": 0})) == zero
    assert faults(await http.put(f"{P}/{prompt_id}/default-version", json={"version": 0})) == zero
    ((place, _),) = faults(await http.get(f"{P}/{prompt_id}", params={"version": "last"}))
    assert place == ["query", "version"]
    huge = await http.put(f"{P}/{prompt_id}", json={"prompt": "a", "version": 10**30})
    assert huge.status_code == 409


async def test_rights(app: Any) -> None:
    for user, status in ((None, 401), ("guest", 403)):
        async with client(app, user) as http:
            answers = [
                await http.post(P, json={"prompt": "a"}),
                await http.get(P),
                await http.get(f"{P}/{NOWHERE}"),
                await http.get(f"{P}/{NOWHERE}/versions"),
                await http.put(f"{P}/{NOWHERE}", json={"prompt": "a", "version": 1}),
                await http.put(f"{P}/{NOWHERE}/default-version", json={"version": 1}),
                await http.delete(f"{P}/{NOWHERE}"),
            ]
        assert [answer.status_code for answer in answers] == [status] * 7
