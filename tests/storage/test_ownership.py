import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from sqlalchemy import URL

from lightspeed.errors import NotFound, StorageError
from lightspeed.storage.database import Database
from lightspeed.storage.owned import OwnedFile, OwnedStore
from lightspeed.storage.ownership import Ownership

pytestmark = pytest.mark.anyio

BEGINNING = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def a_store(name: str, user_id: str = "alice", seconds: int = 0, **changes: Any) -> OwnedStore:
    return OwnedStore(name, user_id, BEGINNING + timedelta(seconds=seconds), **changes)


def a_file(name: str, user_id: str = "alice", seconds: int = 0, size: int = 1) -> OwnedFile:
    return OwnedFile(name, user_id, BEGINNING + timedelta(seconds=seconds), f"{name}.txt", size)


@pytest.fixture
def ownership(database: Database) -> Ownership:
    return Ownership(database)


async def test_a_store_belongs_to_who_made_it(ownership: Ownership) -> None:
    mine, theirs = a_store("vs_1"), a_store("vs_2", "bob", 1, expires_at=2**40)
    await ownership.add_store(mine)
    await ownership.add_store(theirs)
    assert await ownership.store("vs_1") == mine
    assert await ownership.store("vs_2") == theirs
    assert await ownership.store("vs_3") is None
    assert await ownership.stores("alice") == [mine]
    assert await ownership.stores(None) == [theirs, mine]
    assert await ownership.stores("carol") == []


async def test_an_id_has_one_owner(ownership: Ownership) -> None:
    await ownership.add_store(a_store("vs_1"))
    with pytest.raises(StorageError):
        await ownership.add_store(a_store("vs_1", "mallory"))
    assert await ownership.store("vs_1") == a_store("vs_1")


async def test_a_removed_store_has_no_owner(ownership: Ownership) -> None:
    await ownership.add_store(a_store("vs_1"))
    assert await ownership.remove_store("vs_1")
    assert not await ownership.remove_store("vs_1")
    assert await ownership.store("vs_1") is None


async def test_searchable_is_what_is_owned_and_has_not_expired(ownership: Ownership) -> None:
    now = int(time.time())
    await ownership.add_store(a_store("vs_for_ever"))
    await ownership.add_store(a_store("vs_later", expires_at=now + 100))
    await ownership.add_store(a_store("vs_gone", expires_at=now - 1))
    await ownership.add_store(a_store("vs_bob", "bob"))
    assert await ownership.visible("alice") == {"vs_for_ever", "vs_later"}
    await ownership.set_expiry("vs_gone", now + 100)
    await ownership.set_expiry("vs_later", now - 1)
    assert await ownership.visible("alice") == {"vs_for_ever", "vs_gone"}
    later = await ownership.store("vs_later")
    assert later is not None
    assert later.expired


async def test_which_ids_belong_to_others(ownership: Ownership) -> None:
    await ownership.add_store(a_store("vs_mine"))
    await ownership.add_store(a_store("vs_bob", "bob"))
    await ownership.add_store(a_store("vs_carol", "carol"))
    asked = ["vs_mine", "vs_bob", "knowledge", *(f"vs_{number}" for number in range(2000))]
    assert await ownership.owned_by_others(asked, "alice") == {"vs_bob"}
    assert await ownership.owned_by_others([], "alice") == frozenset()


async def test_odd_names_are_kept_as_far_as_databases_can(ownership: Ownership) -> None:
    file = OwnedFile("file-1", "anna\x00'--", BEGINNING, "a\ud800\x00b.txt", 2**40)
    await ownership.add_file(file)
    found = await ownership.file("file-1")
    assert found is not None
    assert (found.user_id, found.filename, found.bytes) == ("anna\ufffd'--", "a\ufffd\ufffdb.txt", 2**40)
    assert await ownership.files("anna\x00'--", limit=1) == [found]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_files_are_paged_both_ways(ownership: Ownership, order: Literal["asc", "desc"]) -> None:
    # Two at each moment, so that the id decides too.
    made = [a_file(f"file-{number:02}", seconds=number // 2) for number in range(10)]
    for file in reversed(made):
        await ownership.add_file(file)
    await ownership.add_file(a_file("file-bob", "bob", 2))
    expected = made if order == "asc" else made[::-1]

    pages: list[OwnedFile] = []
    after = None
    while page := await ownership.files("alice", limit=3, order=order, after=after):
        pages += page
        after = page[-1].id
    assert pages == expected
    before = await ownership.files("alice", limit=3, order=order, before=expected[5].id)
    assert before == expected[2:5]
    between = await ownership.files(
        "alice", limit=9, order=order, after=expected[0].id, before=expected[3].id
    )
    assert between == expected[1:3]
    assert len(await ownership.files(None, limit=100, order=order)) == 11


async def test_a_page_does_not_start_at_a_file_of_another_user(ownership: Ownership) -> None:
    await ownership.add_file(a_file("file-1"))
    await ownership.add_file(a_file("file-bob", "bob"))
    for cursor in ({"after": "file-bob"}, {"before": "file-bob"}, {"after": "file-none"}):
        with pytest.raises(NotFound):
            await ownership.files("alice", limit=10, **cursor)
    assert await ownership.files(None, limit=10, after="file-bob") == [a_file("file-1")]


async def test_a_removed_file_has_no_owner(ownership: Ownership) -> None:
    await ownership.add_file(a_file("file-1"))
    assert await ownership.remove_file("file-1")
    assert not await ownership.remove_file("file-1")
    assert await ownership.file("file-1") is None


async def test_many_processes_at_once(ownership: Ownership, place: URL) -> None:
    other = Database(place)
    both = (ownership, Ownership(other))

    async def make_and_remove(each: Ownership, number: int) -> None:
        await each.add_store(a_store(f"vs_{number}", f"user{number % 3}"))
        if number % 2:
            assert await each.remove_store(f"vs_{number}")

    await asyncio.gather(*(make_and_remove(both[number % 2], number) for number in range(30)))
    for each in both:
        assert {store.id for store in await each.stores(None)} == {f"vs_{n}" for n in range(0, 30, 2)}
    await other.close()
