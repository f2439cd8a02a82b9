"""Files become chunks: whole, once, also when something is away for a while."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from lightspeed.errors import Unavailable
from tests.stack.providers.knowledge_provider import (
    attach,
    count,
    embeddings,
    local_files,
    query,
    register,
    search,
    settled,
    until,
    upload,
    vector_io,
)

pytestmark = pytest.mark.anyio

SHORT = "\n\n".join(f"Paragraph {number} tells of subject {number} at some length." for number in range(60))
LONG = "\n\n".join(f"Paragraph {number} tells of subject {number} at some length." for number in range(400))


class Inference:
    """The real embeddings, which can be held up or away."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.failures: list[Exception] = []
        self.asked = 0
        self.held_from = 1
        self.may_go_on = anyio.Event()
        self.may_go_on.set()

    async def was_asked(self, times: int = 1) -> bool:
        return self.asked >= times

    async def openai_embeddings(self, params: Any) -> Any:
        self.asked += 1
        if self.asked >= self.held_from:
            await self.may_go_on.wait()
        if self.failures:
            raise self.failures.pop(0)
        return await self.real.openai_embeddings(params)


@pytest.fixture(scope="module")
async def real() -> AsyncIterator[Any]:
    async with embeddings() as provider:
        yield provider


@pytest.fixture
def inference(real: Any) -> Inference:
    return Inference(real)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightspeed.stack.providers.faiss_sqlite.jobs._PAUSES", (0.01, 0.02))


async def test_a_long_file_is_read_after_the_answer(tmp_path: Path, inference: Inference) -> None:
    inference.may_go_on = anyio.Event()
    async with vector_io(tmp_path, inference, attach_wait_seconds=0.05) as provider:
        await register(provider, "kb")
        file_id = await upload(await local_files(tmp_path), "long.txt", LONG)
        attached = await attach(provider, "kb", file_id)
        assert (attached.status, attached.usage_bytes) == ("in_progress", 0)
        store = await provider.openai_retrieve_vector_store("kb")
        assert (store.status, store.file_counts.in_progress) == ("in_progress", 1)
        await until(inference.was_asked)
        progress = (await provider.openai_retrieve_vector_store_file("kb", file_id)).progress
        assert progress is not None
        assert progress.done == 0
        assert progress.total > 20
        assert await count(provider, "kb") == 0
        assert (await provider.openai_retrieve_vector_store_file_contents("kb", file_id)).data == []

        inference.may_go_on.set()
        done = await settled(provider, "kb", file_id)
        assert (done.status, done.id) == ("completed", file_id)
        assert await count(provider, "kb") == progress.total
        assert done.progress is not None
        assert done.progress.done == done.progress.total == progress.total


async def test_progress_is_told_while_a_file_is_read(tmp_path: Path, inference: Inference) -> None:
    inference.may_go_on = anyio.Event()
    inference.held_from = 2
    chunking = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    async with vector_io(tmp_path, inference, attach_wait_seconds=0) as provider:
        await register(provider, "kb")
        file_id = await upload(await local_files(tmp_path), "long.txt", "word " * 7000)
        await attach(provider, "kb", file_id, chunking_strategy=chunking)
        await until(lambda: inference.was_asked(2))
        progress = (await provider.openai_retrieve_vector_store_file("kb", file_id)).progress
        assert progress is not None
        assert 0 < progress.done < progress.total
        inference.may_go_on.set()
        assert (await settled(provider, "kb", file_id)).status == "completed"


async def test_chunks_fit_the_model_unless_the_client_says_otherwise(
    tmp_path: Path, inference: Inference
) -> None:
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        files = await local_files(tmp_path)
        static = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 10}}
        routers_auto = {
            "type": "static",
            "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
        }
        tokens: dict[str, list[int]] = {}
        for name, strategy in (
            ("none", None),
            ("auto", {"type": "auto"}),
            ("router", routers_auto),
            ("static", static),
        ):
            file_id = await upload(files, f"{name}.txt", SHORT)
            assert (await attach(provider, "kb", file_id, chunking_strategy=strategy)).status == "completed"
            contents = await provider.openai_retrieve_vector_store_file_contents("kb", file_id, False, True)
            tokens[name] = [item.chunk_metadata.content_token_count for item in contents.data]
            assert [item.metadata["chunk_index"] for item in contents.data] == list(range(len(contents.data)))
        assert max(tokens["auto"]) <= 220
        assert tokens["none"] == tokens["auto"] == tokens["router"]
        assert max(tokens["static"]) <= 100
        too_much = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 100}}
        with pytest.raises(ValueError, match="chunk_overlap_tokens must be less than"):
            await attach(provider, "kb", file_id, chunking_strategy=too_much)


async def test_equal_files_share_no_chunk(tmp_path: Path, inference: Inference) -> None:
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        files = await local_files(tmp_path)
        one, two = [await upload(files, "same.txt", "The very same text.") for _ in range(2)]
        for file_id in (one, two):
            await attach(provider, "kb", file_id)
        assert await count(provider, "kb") == 2
        await provider.openai_delete_vector_store_file("kb", one)
        assert [hit.file_id for hit in (await search(provider, "kb", "same text")).data] == [two]


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("picture.xyz", b"\x89PNG", "unsupported_file", "unsupported type .xyz"),
        ("empty.txt", b"  \n", "invalid_file", "no text"),
        ("broken.pdf", b"%PDF-1.4 broken", "invalid_file", "broken.pdf"),
    ],
)
async def test_files_that_cannot_be_read(
    tmp_path: Path, inference: Inference, name: str, content: bytes, code: str, message: str
) -> None:
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        file_id = await upload(await local_files(tmp_path), name, content)
        failed = await attach(provider, "kb", file_id)
        assert (failed.status, failed.last_error.code) == ("failed", code)
        assert message in failed.last_error.message
        kept = await provider.openai_retrieve_vector_store_file("kb", file_id)
        assert kept.last_error == failed.last_error
        listed = await provider.openai_list_files_in_vector_store("kb", filter="failed")
        assert '"code":"' + code in listed.model_dump_json()
        assert (await provider.openai_list_files_in_vector_store("kb", filter="completed")).data == []


async def test_files_that_are_not_there_or_too_large(tmp_path: Path, inference: Inference) -> None:
    async with vector_io(tmp_path, inference, max_file_bytes=10) as provider:
        await register(provider, "kb")
        missing = await attach(provider, "kb", "file-0")
        assert (missing.status, missing.last_error.code) == ("failed", "invalid_file")
        assert "file-0" in missing.last_error.message
        file_id = await upload(await local_files(tmp_path), "long.txt", LONG)
        large = await attach(provider, "kb", file_id)
        assert "more than the limit of 10" in large.last_error.message
    async with vector_io(tmp_path, inference, files=False) as provider:
        without = await attach(provider, "kb", file_id)
        assert (without.status, without.last_error.code) == ("failed", "server_error")
        assert "no provider for `files`" in without.last_error.message


async def test_what_is_away_for_a_moment_is_asked_again(tmp_path: Path, inference: Inference) -> None:
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        files = await local_files(tmp_path)
        file_id = await upload(files, "a.txt", "A text.")
        inference.failures = [ConnectionError("refused"), TimeoutError()]
        assert (await attach(provider, "kb", file_id)).status == "completed"
        assert inference.asked == 3

        other = await upload(files, "b.txt", "Another text.")
        inference.failures = [ConnectionError("refused") for _ in range(3)]
        failed = await attach(provider, "kb", other)
        assert (failed.status, failed.last_error.code) == ("failed", "server_error")
        assert "refused" in failed.last_error.message
        again = await attach(provider, "kb", other, attributes={"second": True})
        assert (again.status, again.last_error, again.attributes) == ("completed", None, {"second": True})
        asked = inference.asked
        assert await attach(provider, "kb", other, attributes={"third": True}) == again
        assert inference.asked == asked


async def test_what_was_stored_before_a_crash_is_stored_once(
    tmp_path: Path, real: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightspeed.stack.providers.faiss_sqlite.attachments import Attachments

    complete = Attachments.complete
    calls: list[int] = []

    def complete_the_second_time(self: Attachments, *job: Any, **what: Any) -> bool:
        calls.append(len(calls))
        if len(calls) == 1:
            raise Unavailable("The catalog is locked.")
        return complete(self, *job, **what)

    monkeypatch.setattr(Attachments, "complete", complete_the_second_time)
    async with vector_io(tmp_path, real) as provider:
        await register(provider, "kb")
        file_id = await upload(await local_files(tmp_path), "a.txt", SHORT)
        attached = await attach(provider, "kb", file_id)
        assert (attached.status, len(calls)) == ("completed", 2)
        contents = await provider.openai_retrieve_vector_store_file_contents("kb", file_id)
        assert await count(provider, "kb") == len(contents.data) > 1


async def test_a_model_that_refuses_is_not_asked_again(tmp_path: Path, inference: Inference) -> None:
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        file_id = await upload(await local_files(tmp_path), "a.txt", "A text.")
        inference.failures = [ValueError("no such thing, key-abcdef123")]
        failed = await attach(provider, "kb", file_id)
        assert failed.last_error.message == "no such thing, [redacted]"
        assert inference.asked == 1


async def test_a_file_is_removed_while_it_is_read(tmp_path: Path, inference: Inference) -> None:
    inference.may_go_on = anyio.Event()
    async with vector_io(tmp_path, inference, attach_wait_seconds=0) as provider:
        await register(provider, "kb")
        files = await local_files(tmp_path)
        file_id = await upload(files, "a.txt", "A text.")
        await attach(provider, "kb", file_id)
        await until(inference.was_asked)
        assert (await provider.openai_delete_vector_store_file("kb", file_id)).deleted
        inference.may_go_on.set()
        other = await upload(files, "b.txt", "Another text.")
        await attach(provider, "kb", other)
        assert (await settled(provider, "kb", other)).status == "completed"
        assert await count(provider, "kb") == 1
        assert [file.id for file in (await provider.openai_list_files_in_vector_store("kb")).data] == [other]


async def test_a_store_is_removed_while_files_are_read(tmp_path: Path, inference: Inference) -> None:
    inference.may_go_on = anyio.Event()
    async with vector_io(tmp_path, inference, attach_wait_seconds=0) as provider:
        await register(provider, "kb")
        files = await local_files(tmp_path)
        for number in range(4):
            await attach(provider, "kb", await upload(files, f"{number}.txt", f"Text {number}."))
        await until(inference.was_asked)
        await provider.openai_delete_vector_store("kb")
        inference.may_go_on.set()
        await register(provider, "kb")
        await anyio.sleep(0.2)
        made = await provider.openai_retrieve_vector_store("kb")
        assert (made.file_counts.total, await count(provider, "kb")) == (0, 0)


async def test_unfinished_files_are_read_after_a_restart(
    tmp_path: Path, inference: Inference, real: Any
) -> None:
    inference.may_go_on = anyio.Event()
    async with vector_io(tmp_path, inference, attach_wait_seconds=0) as provider:
        await register(provider, "kb")
        files = await local_files(tmp_path)
        ids = [await upload(files, f"{number}.txt", f"Text {number}.") for number in range(5)]
        for file_id in ids:
            await attach(provider, "kb", file_id)
        await until(lambda: inference.was_asked(2))
        await anyio.sleep(0.1)
        assert inference.asked == 2
    async with vector_io(tmp_path, real) as provider:
        for file_id in ids:
            assert (await settled(provider, "kb", file_id)).status == "completed"
        assert await count(provider, "kb") == 5


async def test_two_providers_share_the_work(tmp_path: Path, inference: Inference) -> None:
    from llama_stack_api import OpenAICreateVectorStoreFileBatchRequestWithExtraBody

    async with vector_io(tmp_path, inference) as one, vector_io(tmp_path, inference):
        await register(one, "kb")
        files = await local_files(tmp_path)
        ids = [await upload(files, f"{number}.txt", f"Text {number}.") for number in range(20)]
        await one.openai_create_vector_store_file_batch(
            "kb", OpenAICreateVectorStoreFileBatchRequestWithExtraBody(file_ids=[*ids, *ids])
        )
        for file_id in ids:
            assert (await settled(one, "kb", file_id)).status == "completed"
        assert (inference.asked, await count(one, "kb")) == (20, 20)
        with pytest.raises(ValueError, match="at most 500 files, not 501"):
            await one.openai_create_vector_store_file_batch(
                "kb",
                OpenAICreateVectorStoreFileBatchRequestWithExtraBody(
                    file_ids=[f"file-{number}" for number in range(501)]
                ),
            )


async def test_a_process_may_leave_the_reading_to_others(tmp_path: Path, real: Any) -> None:
    settings = {"attach_wait_seconds": 0.1}
    async with vector_io(tmp_path, real, read_files=False, **settings) as provider:
        await register(provider, "kb")
        file_id = await upload(await local_files(tmp_path), "a.txt", "A text.")
        assert (await attach(provider, "kb", file_id)).status == "in_progress"
        async with vector_io(tmp_path, real):
            assert (await settled(provider, "kb", file_id)).status == "completed"


async def test_a_file_that_ends_the_process_is_given_up(tmp_path: Path, real: Any) -> None:
    async with vector_io(tmp_path, real, attach_wait_seconds=0) as provider:
        await register(provider, "kb")
    with closing(sqlite3.connect(tmp_path / "knowledge" / "catalog.db")) as catalog, catalog:
        catalog.execute(
            "INSERT INTO attachments (store_id, file_id, filename, status, attributes, chunking, origin, "
            "created_at, usage_bytes, done, total, claims, owner, lease_until) VALUES "
            """('kb', 'file-1', '', 'in_progress', '{}', '{"type": "auto"}', '{}', 1, 0, 0, 0, 5, 'dead', 1)"""
        )
    async with vector_io(tmp_path, real) as provider:
        failed = await settled(provider, "kb", "file-1")
        assert "has ended the process 5 times" in failed.last_error.message


async def test_a_paragraph_that_is_a_heading_is_cut_beside_the_passages(tmp_path: Path, real: Any) -> None:
    async with vector_io(tmp_path, real) as provider:
        await register(provider, "kb")
        guide = f"# The guide\n\n## {'Restore backups. ' * 500}\n\nA text."
        await attach(provider, "kb", await upload(await local_files(tmp_path), "guide.md", guide))
        hits = (await search(provider, "kb", "text")).data
        assert hits
        for hit in hits:
            assert len(hit.attributes["heading"]) <= 500


async def test_attributes(tmp_path: Path, real: Any) -> None:
    from llama_stack_api import OpenAIUpdateVectorStoreFileRequest

    async with vector_io(tmp_path, real) as provider:
        await register(provider, "kb")
        file_id = await upload(await local_files(tmp_path), "guide.md", "# The guide\n\nA text.")
        given = {"title": "My title", "url": "https://example.org/guide", "file_id": "forged", "stable": True}
        await attach(provider, "kb", file_id, attributes=given)
        (hit,) = (await search(provider, "kb", "text")).data
        assert hit.attributes is not None
        assert (hit.attributes["title"], hit.attributes["file_id"]) == ("My title", file_id)
        stable = {"type": "eq", "key": "stable", "value": True}
        assert (await query(provider, "kb", "text", filters=stable)).chunks

        changed = OpenAIUpdateVectorStoreFileRequest(attributes={"version": 2})
        updated = await provider.openai_update_vector_store_file("kb", file_id, changed)
        assert updated.attributes == {"version": 2}
        (hit,) = (await search(provider, "kb", "text")).data
        assert hit.attributes is not None
        assert (hit.attributes["title"], hit.attributes["version"]) == ("The guide", 2)
        assert "url" not in hit.attributes
        assert not (await query(provider, "kb", "text", filters=stable)).chunks

        for wrong, message in (
            ({f"key{number}": 1 for number in range(17)}, "at most 16 attributes"),
            ({"k" * 65: 1}, "1 to 64 characters"),
            ({"key": "v" * 513}, "at most 512 characters"),
            ({"key": "half \ud800"}, "holds NUL or half surrogates"),
            ({"half \ud800": 1}, "holds NUL or half surrogates"),
            ({"key": "a\0b"}, "holds NUL or half surrogates"),
            ({"key": [1]}, "a string, a number or a boolean"),
            ({"key": None}, "a string, a number or a boolean"),
        ):
            with pytest.raises(ValueError, match=message):
                await attach(provider, "kb", file_id, attributes=wrong)


async def test_a_store_made_with_files_and_a_strategy(tmp_path: Path, real: Any) -> None:
    from llama_stack_api import OpenAICreateVectorStoreRequestWithExtraBody

    async with vector_io(tmp_path, real) as provider:
        files = await local_files(tmp_path)
        first = await upload(files, "first.txt", SHORT)
        strategy = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
        made = await provider.openai_create_vector_store(
            OpenAICreateVectorStoreRequestWithExtraBody.model_validate(
                {
                    "name": "Made",
                    "file_ids": [first],
                    "chunking_strategy": strategy,
                    "embedding_model": "all-MiniLM-L6-v2",
                    "embedding_dimension": 384,
                }
            )
        )
        assert (made.file_counts.completed, made.status) == (1, "completed")
        second = await upload(files, "second.txt", SHORT)
        attached = await attach(provider, made.id, second)
        assert attached.chunking_strategy.model_dump() == strategy
        contents = await provider.openai_retrieve_vector_store_file_contents(made.id, second, False, True)
        assert max(item.chunk_metadata.content_token_count for item in contents.data) <= 100
