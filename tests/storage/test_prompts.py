import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import URL

from lightspeed.errors import Conflict, NotFound, Unprocessable
from lightspeed.storage.database import Database
from lightspeed.storage.identifiers import new_prompt_id, normalize_prompt_id
from lightspeed.storage.prompts import Prompt, Prompts, render

pytestmark = pytest.mark.anyio


@pytest.fixture
def prompts(database: Database) -> Prompts:
    return Prompts(database)


async def added(prompts: Prompts, made: Prompt, version: int, *, default: bool = True) -> Prompt:
    text = f"text {version + 1}"
    return await prompts.add_version(made.id, version, "bob", text, ["b"], set_as_default=default)


async def defaults_of(prompts: Prompts, prompt_id: str) -> list[int]:
    return [version.version for version in await prompts.versions(prompt_id) if version.is_default]


def test_ids() -> None:
    made = new_prompt_id()
    assert normalize_prompt_id(made) == normalize_prompt_id(made.upper()) == made
    assert made != new_prompt_id()
    for wrong in ("", made[:-1], made + "0", made + "\n", made[5:], f"pmpt_{'g' * 48}", f"pmpt_{'٣' * 48}"):
        assert normalize_prompt_id(wrong) is None


async def test_a_new_prompt_is_its_default_version(prompts: Prompts) -> None:
    before = datetime.now(UTC)
    made = await prompts.add("alice", "You know {{ a }}.\x00", ["a"])
    assert before <= made.created_at <= datetime.now(UTC)
    expected = Prompt(made.id, 1, "alice", "You know {{ a }}.\ufffd", ("a",), True, made.created_at)
    assert made == expected
    assert normalize_prompt_id(made.id) == made.id
    assert await prompts.get(made.id) == await prompts.get(made.id, 1) == expected
    assert await prompts.versions(made.id) == [expected]
    assert await prompts.defaults() == [expected]


async def test_versions_follow_each_other(prompts: Prompts) -> None:
    first = await prompts.add("alice", "text 1", [])
    second = await added(prompts, first, 1)
    assert (second.version, second.user_id, second.prompt) == (2, "bob", "text 2")
    assert (second.variables, second.is_default) == (("b",), True)
    third = await added(prompts, first, 2, default=False)
    assert not third.is_default
    assert await prompts.get(first.id) == second
    assert [found.version for found in await prompts.versions(first.id)] == [3, 2, 1]
    assert await prompts.get(first.id, 3) == third
    assert not (await prompts.get(first.id, 1)).is_default
    assert await prompts.defaults() == [second]


async def test_the_default_can_be_any_version(prompts: Prompts) -> None:
    made = await prompts.add("alice", "text 1", [])
    other = await prompts.add("alice", "other", [])
    await added(prompts, made, 1)
    assert await prompts.set_default(made.id, 1) == made
    assert await prompts.get(made.id) == made
    assert await defaults_of(prompts, made.id) == [1]
    with pytest.raises(NotFound):
        await prompts.set_default(made.id, 3)
    assert await defaults_of(prompts, made.id) == await defaults_of(prompts, other.id) == [1]


async def test_a_change_of_an_older_version_is_refused(prompts: Prompts) -> None:
    made = await prompts.add("alice", "text 1", [])
    await added(prompts, made, 1)
    for version in (1, 3, 2**40):
        with pytest.raises(Conflict, match=f"is 2, not {version}"):
            await added(prompts, made, version)
    assert len(await prompts.versions(made.id)) == 2


async def test_what_is_not_there(prompts: Prompts) -> None:
    nowhere, made = new_prompt_id(), await prompts.add("alice", "text", [])
    for version in (None, 1, 2**70):
        with pytest.raises(NotFound):
            await prompts.get(nowhere, version)
    for version in (0, -1, 2, 2**31, 2**70):
        with pytest.raises(NotFound, match=f"{made.id} and version {version} does not exist"):
            await prompts.get(made.id, version)
    with pytest.raises(NotFound):
        await prompts.versions(nowhere)
    with pytest.raises(NotFound):
        await prompts.set_default(nowhere, 1)
    with pytest.raises(NotFound):
        await prompts.add_version(nowhere, 1, "bob", "text", [], set_as_default=True)
    assert not await prompts.remove(nowhere)


async def test_removal_takes_all_versions(prompts: Prompts) -> None:
    made, other = await prompts.add("alice", "text 1", []), await prompts.add("alice", "other", [])
    await added(prompts, made, 1)
    assert await prompts.remove(made.id)
    assert not await prompts.remove(made.id)
    with pytest.raises(NotFound):
        await prompts.versions(made.id)
    assert await prompts.defaults() == [other]


async def test_ids_descend_in_the_list(prompts: Prompts) -> None:
    made = {(await prompts.add("alice", str(number), [])).id for number in range(5)}
    assert [found.id for found in await prompts.defaults()] == sorted(made, reverse=True)


async def test_of_two_that_change_one_version_one_loses(prompts: Prompts, place: URL) -> None:
    elsewhere = Database(place)
    made = await prompts.add("alice", "text 1", [])
    for version in range(1, 6):
        changes = [added(each, made, version) for each in (prompts, Prompts(elsewhere)) for _ in range(2)]
        results = await asyncio.gather(*changes, return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Conflict"] * 3 + ["Prompt"]
    assert [found.version for found in await prompts.versions(made.id)] == [6, 5, 4, 3, 2, 1]
    assert await defaults_of(prompts, made.id) == [6]
    await elsewhere.close()


async def test_there_is_one_default_whoever_changes_it_meanwhile(prompts: Prompts, place: URL) -> None:
    elsewhere = Database(place)
    made = await prompts.add("alice", "text 1", [])
    for version in range(1, 11):
        await asyncio.gather(added(prompts, made, version), Prompts(elsewhere).set_default(made.id, 1))
        assert await defaults_of(prompts, made.id) in ([1], [version + 1])
    await elsewhere.close()


async def test_a_removed_prompt_does_not_come_back_in_parts(prompts: Prompts, place: URL) -> None:
    elsewhere = Database(place)
    for _ in range(10):
        made = await prompts.add("alice", "text 1", [])
        change, removed = await asyncio.gather(
            added(Prompts(elsewhere), made, 1), prompts.remove(made.id), return_exceptions=True
        )
        assert isinstance(change, Prompt | NotFound)
        assert removed is True
        with pytest.raises(NotFound):
            await prompts.versions(made.id)
    await elsewhere.close()


async def test_an_erased_user_is_forgotten_and_the_prompts_stay(prompts: Prompts) -> None:
    made = await prompts.add("alice", "text 1", [])
    await added(prompts, made, 1)
    await prompts.add("alice", "other", [])
    assert await prompts.erase_user("alice") == 2
    assert await prompts.erase_user("alice") == 0
    assert [found.user_id for found in await prompts.versions(made.id)] == ["bob", ""]


async def test_a_prompt_is_rendered(prompts: Prompts) -> None:
    made = await prompts.add("alice", "You know {{ product }}.", ["product", "language"])
    assert render(made, {"product": "Widgets", "language": "French"}) == "You know Widgets."
    with pytest.raises(Unprocessable, match="needs values for: product"):
        render(made, {})
    with pytest.raises(Unprocessable, match="no variables named: colour"):
        render(made, {"product": "Widgets", "colour": "red"})
