import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import URL

from lightspeed.errors import Conflict, Unprocessable
from lightspeed.storage.database import Database
from lightspeed.storage.identifiers import normalize_saved_prompt_id
from lightspeed.storage.saved_prompts import SavedPrompt, SavedPrompts

pytestmark = pytest.mark.anyio


@pytest.fixture
def saved(database: Database) -> SavedPrompts:
    return SavedPrompts(database)


def kinds(results: list[Any]) -> list[str]:
    return sorted(type(result).__name__ for result in results)


def test_ids() -> None:
    known = "0af1b2c3-0000-4000-8000-00000000000f"
    assert normalize_saved_prompt_id(known) == normalize_saved_prompt_id(known.upper()) == known
    for wrong in ("", "a", known.replace("-", ""), f"{{{known}}}", f"urn:uuid:{known}", known + "\n"):
        assert normalize_saved_prompt_id(wrong) is None


async def test_prompts_belong_to_who_saved_them(saved: SavedPrompts) -> None:
    before = datetime.now(UTC)
    first = await saved.add("alice", "a", "Text\x00", most=2)
    assert first == SavedPrompt(first.id, "alice", "a", "Text\ufffd", first.created_at, first.created_at)
    assert before <= first.created_at <= datetime.now(UTC)
    assert normalize_saved_prompt_id(first.id) == first.id
    second = await saved.add("alice", "b", "", most=2)
    other = await saved.add("bob", "a", "Text", most=2)
    assert await saved.of_user("alice") == [second, first]
    assert await saved.of_user("bob") == [other]
    assert await saved.of_user("carol") == []
    assert (await saved.count_user("alice"), await saved.count_user("carol")) == (2, 0)
    assert not await saved.remove("bob", first.id)
    assert await saved.remove("alice", first.id)
    assert not await saved.remove("alice", first.id)
    assert await saved.of_user("alice") == [second]


async def test_a_name_is_there_once_and_the_number_is_limited(saved: SavedPrompts) -> None:
    await saved.add("alice", "a", "Text", most=1)
    with pytest.raises(Conflict):
        await saved.add("alice", "a", "Other", most=1)
    with pytest.raises(Unprocessable, match="limit of 1 saved prompts"):
        await saved.add("alice", "b", "Text", most=1)
    assert [found.content for found in await saved.of_user("alice")] == ["Text"]


async def test_the_longest_names_fit(saved: SavedPrompts) -> None:
    name = "".join(chr(0x1F300 + number) for number in range(500))
    await saved.add("u" * 200, name, "Text", most=1)
    assert [found.name for found in await saved.of_user("u" * 200)] == [name]


async def test_limits_hold_when_many_are_added_at_once(saved: SavedPrompts, place: URL) -> None:
    elsewhere = Database(place)
    both = (saved, SavedPrompts(elsewhere))
    adding = [
        each.add("alice", f"{place}-{number}", "Text", most=3)
        for place, each in enumerate(both)
        for number in range(4)
    ]
    results = await asyncio.gather(*adding, return_exceptions=True)
    assert kinds(results) == ["SavedPrompt"] * 3 + ["Unprocessable"] * 5
    same = [each.add("bob", "same", "Text", most=3) for each in both for _ in range(3)]
    assert kinds(await asyncio.gather(*same, return_exceptions=True)) == ["Conflict"] * 5 + ["SavedPrompt"]
    assert (await saved.count_user("alice"), await saved.count_user("bob")) == (3, 1)
    await elsewhere.close()


async def test_all_of_a_user_can_be_erased(saved: SavedPrompts) -> None:
    for name in ("a", "b"):
        await saved.add("alice", name, "Text", most=5)
    await saved.add("bob", "a", "Text", most=5)
    assert await saved.erase_user("alice") == 2
    assert await saved.erase_user("alice") == 0
    assert (await saved.count_user("alice"), await saved.count_user("bob")) == (0, 1)
