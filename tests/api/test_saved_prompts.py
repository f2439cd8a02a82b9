import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.api.declared_api import client
from tests.api.declared_prompts import error, faults, prompts_application

pytestmark = pytest.mark.anyio

S = "/v1/saved-prompts"
LIMITS = {"max_prompts_per_user": 3, "max_display_name_length": 10, "max_content_length": 20}


@pytest.fixture
async def app() -> AsyncIterator[Any]:
    async with prompts_application(**LIMITS) as app:
        yield app


@pytest.fixture
async def http(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with client(app) as http:
        yield http


async def saved(http: httpx.AsyncClient, name: str, content: str = "Text") -> dict[str, Any]:
    response = await http.post(S, json={"name": name, "content": content})
    assert response.status_code == 201
    found: dict[str, Any] = response.json()
    return found


async def test_limits_are_those_of_the_configuration(http: httpx.AsyncClient) -> None:
    assert (await http.get(f"{S}/config")).json() == LIMITS
    async with prompts_application() as app, client(app) as other:
        assert (await other.get(f"{S}/config")).json() == {
            "max_prompts_per_user": 50,
            "max_display_name_length": 255,
            "max_content_length": 10000,
        }


async def test_prompts_are_saved_listed_and_deleted(http: httpx.AsyncClient) -> None:
    assert (await http.get(S)).json() == {"prompts": []}
    first = await saved(http, " first ", " Text\n")
    assert set(first) == {"id", "name", "content", "created_at", "updated_at"}
    assert (first["name"], first["content"]) == ("first", " Text\n")
    assert first["created_at"] == first["updated_at"]
    assert datetime.fromisoformat(first["created_at"]).utcoffset() == datetime.now(UTC).utcoffset()
    second = await saved(http, "second")
    assert (await http.get(S)).json() == {"prompts": [second, first]}
    deleted = await http.delete(f"{S}/{first['id'].upper()}")
    assert deleted.status_code == 200
    assert deleted.json() == {
        "deleted": True,
        "id": first["id"],
        "response": "Saved prompt deleted successfully",
    }
    assert (await http.get(S)).json() == {"prompts": [second]}


async def test_nobody_else_sees_or_deletes_them(http: httpx.AsyncClient, app: Any) -> None:
    mine = await saved(http, "mine")
    async with client(app, "bob") as bob:
        assert (await bob.get(S)).json() == {"prompts": []}
        foreign = await bob.delete(f"{S}/{mine['id']}")
        assert error(foreign) == (
            404,
            "Saved prompt not found",
            f"Saved prompt with ID {mine['id']} does not exist",
        )
        await saved(bob, "mine")
    assert (await http.get(S)).json() == {"prompts": [mine]}
    # As one that never was.
    unknown = mine["id"][:-4] + ("0000" if mine["id"][-4:] != "0000" else "1111")
    assert error(await http.delete(f"{S}/{unknown}"))[:2] == error(foreign)[:2]
    assert error(await http.delete(f"{S}/x")) == (
        400,
        "Invalid saved prompt ID format",
        "The saved prompt ID x has invalid format.",
    )


async def test_a_name_is_given_once(http: httpx.AsyncClient) -> None:
    await saved(http, "one")
    again = await http.post(S, json={"name": "one ", "content": "Other"})
    assert error(again) == (
        409,
        "Saved prompt already exists",
        "A saved prompt with this name exists already.",
    )


async def test_the_number_is_limited_whoever_comes_first(http: httpx.AsyncClient, app: Any) -> None:
    bodies = [{"name": str(number), "content": "Text"} for number in range(6)]
    answers = await asyncio.gather(*(http.post(S, json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [422] * 3
    refused = next(answer for answer in answers if answer.status_code == 422)
    assert error(refused) == (422, "Too many saved prompts", "The limit of 3 saved prompts is reached.")
    async with client(app, "bob") as bob:
        await saved(bob, "1")
    (newest, *_) = (await http.get(S)).json()["prompts"]
    await http.delete(f"{S}/{newest['id']}")
    await saved(http, "again")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [(["body", "name"], "Field required"), (["body", "content"], "Field required")]),
        ({"name": " \n"}, [(["body", "name"], "Value error, must not be blank")]),
        ({"content": "\t"}, [(["body", "content"], "Value error, must not be blank")]),
        ({"name": "n" * 11}, [(["body", "name"], "String should have at most 10 characters")]),
        ({"content": "c" * 21}, [(["body", "content"], "String should have at most 20 characters")]),
        ({"name": 1}, [(["body", "name"], "Input should be a valid string")]),
        ({"id": "x"}, [(["body", "id"], "Extra inputs are not permitted")]),
    ],
)
async def test_bodies_that_are_refused(
    http: httpx.AsyncClient, body: dict[str, Any], expected: list[tuple[list[Any], str]]
) -> None:
    right = {"name": "n" * 10, "content": "c" * 20}
    assert faults(await http.post(S, json=right | body if body else body)) == expected
    assert (await http.get(S)).json() == {"prompts": []}
    await saved(http, f" {right['name']} ", right["content"])


async def test_rights(app: Any) -> None:
    for user, status in ((None, 401), ("guest", 403)):
        async with client(app, user) as http:
            answers = [
                await http.get(f"{S}/config"),
                await http.get(S),
                await http.post(S, json={"name": "n", "content": "c"}),
                await http.delete(f"{S}/x"),
            ]
        assert [answer.status_code for answer in answers] == [status] * 4
