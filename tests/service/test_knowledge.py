"""The users' own knowledge: databases that they bring, documents that they ingest, files that they upload."""

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.byok import EMBEDDING_MODEL, ONNX, ONNX_MODEL, write_byok_database
from tests.scripted_model import Reply, ScriptedModel, ToolCall
from tests.service.conftest import RunningService, configuration_files, serving

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("KILLS", "3"))
DOCUMENTS = 60 * KILLS
STORE = "vs_8c94967b-81cc-4028-a294-9cfac6fd9ae2"
TEXTS: dict[str, dict[str, Any]] = {
    "Great work usually comes from curiosity about a thing that most others find boring.": {
        "title": "How to do great work",
        "docs_url": "greatwork.html",
    },
    "The kettle must be descaled every forty days, or it will hum.": {
        "title": "Kettle",
        "docs_url": "https://kettles.example.com/descaling",
    },
    "A sail is reefed before the wind demands it.": {},
}


def lightspeed(configuration: Path, state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lightspeed", *arguments, "-c", str(configuration)],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "LIGHTSPEED_STATE": str(state)},
        text=True,
        timeout=170,
    )


def with_embeddings(configuration: Path, **store: Any) -> Path:
    """Adds the bundled embedding model to run.yaml, and a provider for stores."""
    run_file = configuration.parent / "run.yaml"
    run = yaml.safe_load(run_file.read_text())
    run["providers"]["inference"].append(ONNX)
    run["registered_resources"] = {"models": [ONNX_MODEL]}
    if store:
        run["apis"].append("vector_io")
        run["providers"]["vector_io"] = [
            {
                "provider_id": "faiss",
                "provider_type": "inline::faiss-sqlite",
                "module": "lightspeed.stack.providers.faiss_sqlite",
                "config": store,
            }
        ]
    run_file.write_text(yaml.safe_dump(run))
    return configuration


@pytest.fixture(scope="module")
def byok(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_byok_database(tmp_path_factory.mktemp("byok"), STORE, TEXTS)


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        yield model


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, scripted: ScriptedModel, byok: Path
) -> Iterator[RunningService]:
    """A service with a database of knowledge on a file system that nobody may write to."""
    folder = tmp_path_factory.mktemp("house")
    state = folder / "state"
    configuration = configuration_files(
        folder,
        state,
        scripted,
        byok_rag=[
            {
                "rag_id": "essays",
                "vector_db_id": STORE,
                "db_path": str(byok),
                "embedding_model": EMBEDDING_MODEL,
                "embedding_dimension": 384,
            }
        ],
        rag={"inline": ["essays"], "max_chunks": 2},
    )
    with_embeddings(configuration, path=str(state / "knowledge"))
    byok.parent.chmod(0o555)
    try:
        with serving(folder, "-c", str(configuration), state=state) as service:
            yield service
    finally:
        byok.parent.chmod(0o755)


def test_a_database_of_the_users_own_is_searched_and_cited(
    house: RunningService, scripted: ScriptedModel, byok: Path
) -> None:
    before = hashlib.sha256(byok.read_bytes()).hexdigest()
    scripted.queue(Reply("Curiosity."))
    body = house.query("What does great work come from?").json()
    first = body["rag_chunks"][0]
    assert first["source"] == "essays"
    assert first["content"].startswith("Great work")
    assert 0 < first["score"] <= 1
    # A relative address leads nowhere, but the document is named.
    assert body["referenced_documents"][0] == {
        "doc_url": None,
        "doc_title": "How to do great work",
        "source": "essays",
        "document_id": "file-0",
    }
    assert any("Great work usually comes" in str(request.body) for request in scripted.requests)
    assert hashlib.sha256(byok.read_bytes()).hexdigest() == before


def test_words_find_what_meaning_does_not(house: RunningService, scripted: ScriptedModel) -> None:
    scripted.queue(Reply("Every forty days."))
    body = house.query("kettle descaled hum").json()
    assert body["rag_chunks"][0]["content"].startswith("The kettle")
    assert body["referenced_documents"][0]["doc_url"] == "https://kettles.example.com/descaling"


def test_a_stream_names_the_same_documents(house: RunningService, scripted: ScriptedModel) -> None:
    scripted.queue(Reply("Before the wind demands it."))
    events = house.events("When is a sail reefed?")
    (end,) = [event for event in events if event["event"] == "end"]
    documents = end["data"]["referenced_documents"]
    assert {"doc_url": None, "doc_title": None, "source": "essays", "document_id": "file-2"} in [
        {key: document.get(key) for key in ("doc_url", "doc_title", "source", "document_id")}
        for document in documents
    ]


def test_the_store_is_listed_under_the_users_name_and_cannot_be_changed(house: RunningService) -> None:
    assert "essays" in house.client.get("/v1/rags").json()["rags"]
    described = house.client.get("/v1/rags/essays").json()
    assert described["object"] == "vector_store"
    assert house.client.delete(f"/v1/vector-stores/{STORE}").status_code == 403
    assert house.client.put(f"/v1/vector-stores/{STORE}", json={"name": "mine"}).status_code == 403
    assert house.client.get("/v1/rags/essays").status_code == 200


def looks_for_the_vault(request: dict[str, Any]) -> bool:
    """The model is offered the search, and has not used it yet."""
    return bool(request.get("tools")) and request["messages"][-1]["role"] == "user"


def test_nobody_finds_what_others_have_uploaded(tmp_path: Path, byok: Path) -> None:
    secret = "The vault of the observatory opens with the number 4711."
    ann, bob = {"user_id": "ann"}, {"user_id": "bob"}
    state = tmp_path / "state"
    with ScriptedModel() as model:
        configuration = configuration_files(tmp_path, state, model)
        with_embeddings(configuration, path=str(state / "knowledge"))
        model.when(
            looks_for_the_vault,
            Reply(tool_calls=[ToolCall("file_search", {"query": "number of the vault"})]),
        )
        model.default(Reply("Done."))
        with serving(tmp_path, "-c", str(configuration), state=state) as service:
            client = service.client
            file, store = _uploaded(service, ann, secret)
            _uploaded(service, bob, "The kettle of the observatory hums.")

            def found(user: dict[str, str], **fields: Any) -> str:
                question = {"query": "What opens the vault of the observatory?", **fields}
                answer = client.post("/v1/query", params=user, json=question)
                assert answer.status_code == 200, answer.text
                return str(answer.json()["rag_chunks"])

            assert secret in found(ann)
            assert secret in found(ann, vector_store_ids=[store])
            assert "hums" in found(bob)
            assert "4711" not in found(bob)
            assert "4711" not in found(bob, vector_store_ids=[store])
            assert store not in [
                found["id"] for found in client.get("/v1/vector-stores", params=bob).json()["data"]
            ]
            assert store not in client.get("/v1/rags", params=bob).json()["rags"]
            assert store in client.get("/v1/rags", params=ann).json()["rags"]
            for answer in (
                client.get(f"/v1/vector-stores/{store}", params=bob),
                client.get(f"/v1/vector-stores/{store}/files", params=bob),
                client.get(f"/v1/vector-stores/{store}/files/{file}", params=bob),
                client.post(f"/v1/vector-stores/{store}/files", params=bob, json={"file_id": file}),
            ):
                assert answer.status_code == 404, answer.text
            assert client.delete(f"/v1/vector-stores/{store}", params=bob).json()["deleted"] is False
            assert client.get(f"/v1/vector-stores/{store}", params=ann).status_code == 200
        purged = lightspeed(configuration, state, "purge", "--user", "ann", "--yes")
        assert purged.returncode == 0, purged.stderr
        assert "1 vector store, 1 uploaded file" in purged.stdout.splitlines()[-1]
        assert b"4711" not in b"".join(
            path.read_bytes() for path in (state / "knowledge").rglob("*") if path.is_file()
        )


def _uploaded(service: RunningService, user: dict[str, str], text: str) -> tuple[str, str]:
    """A file of one user's in a store of its own: their ids."""
    client = service.client
    upload = {"file": ("note.md", f"# Note\n\n{text}\n".encode())}
    file = client.post("/v1/files", params=user, files=upload).json()["id"]
    store = client.post("/v1/vector-stores", params=user, json={"name": "notes"}).json()["id"]
    path = f"/v1/vector-stores/{store}/files"
    attached = client.post(path, params=user, json={"file_id": file}).json()
    while attached["status"] == "in_progress":
        time.sleep(0.2)
        attached = client.get(f"{path}/{file}", params=user).json()
    assert attached["status"] == "completed", attached
    return file, store


def test_a_database_is_converted_once_and_grows_then(
    tmp_path: Path, scripted: ScriptedModel, byok: Path
) -> None:
    state = tmp_path / "state"
    configuration = with_embeddings(
        configuration_files(tmp_path, state, scripted, rag={"inline": ["kept"]}), path=str(state / "kb")
    )
    done = lightspeed(configuration, state, "ingest", "--store", "kept", "--from", str(byok))
    assert done.returncode == 0, done.stderr
    assert "3 passages" in done.stderr
    (tmp_path / "note.md").write_text("# Note\n\nThe lighthouse keeper is called Brontë.\n")
    done = lightspeed(configuration, state, "ingest", "--store", "kept", str(tmp_path / "note.md"))
    assert done.returncode == 0, done.stderr
    with serving(tmp_path, "-c", str(configuration), state=state) as service:
        for question, expected in (("Who keeps the lighthouse?", "Brontë"), ("What hums?", "kettle")):
            scripted.queue(Reply("Well."))
            assert expected in service.query(question).json()["rag_chunks"][0]["content"]


@pytest.mark.timeout(60 + 20 * KILLS)
def test_an_ingest_that_is_killed_goes_on_where_it_was(tmp_path: Path, scripted: ScriptedModel) -> None:
    """Kills at random moments: every document is whole or absent, and the next run does the rest."""
    state, documents = tmp_path / "state", tmp_path / "documents"
    documents.mkdir()
    words = [
        "wind",
        "sail",
        "kettle",
        "lighthouse",
        "harbour",
        "ledger",
        "orchard",
        "compass",
        "lantern",
        "violin",
    ]
    chance = random.Random(4)
    for number in range(DOCUMENTS):
        paragraphs = [" ".join(chance.choices(words, k=60)) for _ in range(3)]
        (documents / f"page-{number:03}.md").write_text(f"# Page {number}\n\n" + "\n\n".join(paragraphs))
    configuration = with_embeddings(configuration_files(tmp_path, state, scripted), path=str(state / "kb"))
    command = [sys.executable, "-m", "lightspeed", "ingest", "--store", "pages", str(documents)]
    environment = {**os.environ, "LIGHTSPEED_STATE": str(state)}
    whole: dict[str, int] = {}
    seen: list[int] = []
    for _ in range(KILLS):
        process = subprocess.Popen(
            [*command, "-c", str(configuration)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait_for_a_start(state / "kb", process)
        time.sleep(chance.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = _chunks_by_document(state / "kb")
        assert all(found.get(document) == count for document, count in whole.items())
        whole |= found
        seen.append(len(found))
    assert seen == sorted(seen)
    done = lightspeed(configuration, state, "ingest", "--store", "pages", str(documents))
    assert done.returncode == 0, done.stderr
    final = _chunks_by_document(state / "kb")
    assert len(final) == DOCUMENTS
    assert all(final[document] == count for document, count in whole.items())
    assert f"{seen[-1]} unchanged" in done.stderr


def _wait_for_a_start(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the process has the store open: from then on it may be writing."""
    while process.poll() is None:
        if any(path.startswith(str(folder)) and path.endswith("chunks.db") for path in _open_files(process)):
            return
        time.sleep(0.02)


def _open_files(process: subprocess.Popen[bytes]) -> Iterator[str]:
    # Any of them may be closed between two looks, and the process may end.
    with suppress(OSError):
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(OSError):
                yield str(link.readlink())


def _chunks_by_document(folder: Path) -> dict[str, int]:
    files = list(folder.glob("*/chunks.db"))
    if not files:
        return {}
    with sqlite3.connect(files[0]) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = connection.execute("SELECT document_id, count(*) FROM chunks GROUP BY 1").fetchall()
        assert connection.execute(
            "SELECT count(*) FROM chunks LEFT JOIN vectors USING (position) WHERE vector IS NULL"
        ).fetchone() == (0,)
    connection.close()
    return dict(found)
