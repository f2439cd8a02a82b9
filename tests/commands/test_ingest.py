"""`lightspeed ingest` as a user runs it: synchronised folders, web pages, and a run that is killed."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightspeed import cli
from tests.embedded import knowledge, run_configuration, with_store
from tests.scripted_model import ScriptedModel

ROOT = Path(__file__).parents[2]
COUNTS = re.compile(
    r"^knowledge: (\d+) documents added, (\d+) replaced, (\d+) unchanged, (\d+) removed, (\d+) skipped, (\d+) failed",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def page() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>Page</title><p>Text of the page.</p>")

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://localhost:{server.server_address[1]}/page"
    server.shutdown()
    thread.join()
    server.server_close()


def start(state: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "LIGHTSPEED_STATE": str(state)}
    environment.pop("OPENAI_API_KEY", None)
    return subprocess.Popen(
        [sys.executable, "-m", "lightspeed", "ingest", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
        text=True,
    )


def ingest(state: Path, *arguments: str | Path) -> tuple[int, tuple[int, ...], str]:
    """The exit code, what the report counts, and everything that is written."""
    process = start(state, *arguments)
    _, written = process.communicate(timeout=120)
    counted = COUNTS.search(written)
    return process.returncode, tuple(map(int, counted.groups())) if counted else (), written


def test_a_folder_and_a_page_are_kept_in_step(state: Path, tmp_path: Path, page: str) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.rst").write_text("A\n=\n\nOne.\n")
    (folder / "b.yaml").write_text("name: two\n")
    allowed = ("--allow-url", "localhost", "--allow-private")
    assert ingest(state, folder, page, *allowed)[:2] == (0, (3, 0, 0, 0, 0, 0))
    (folder / "a.rst").unlink()
    (folder / "b.yaml").write_text("name: [\n")
    code, counted, written = ingest(state, "--sync", folder, page, *allowed)
    assert (code, counted) == (1, (0, 0, 1, 1, 0, 1))
    assert re.search(r"failed: \S+b\.yaml: broken YAML: .* \(its earlier version is kept\)", written)


def test_a_page_whose_host_is_not_named_is_refused_before_anything_starts(
    state: Path, tmp_path: Path, page: str
) -> None:
    code, counted, written = ingest(state, page)
    assert (code, counted) == (1, ())
    assert "not allowed (--allow-url localhost)" in written
    assert "Traceback" not in written


def test_a_folder_that_was_empty_is_looked_at_again(state: Path, tmp_path: Path) -> None:
    options = ("--if-empty", "--store", "later", tmp_path)
    assert ingest(state, *options)[0] == 0
    (tmp_path / "a.md").write_text("It is mounted now.")
    code, _, written = ingest(state, *options)
    assert (code, "later: 1 documents added" in written) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ([""], "is empty"),
        (["docs", "--store", ""], "is empty"),
        (["docs", "--from-store", "x"], "--from-store needs --from"),
        (["docs", "--embedding-model", ""], "--embedding-model needs --from"),
    ],
)
def test_arguments_that_an_unset_variable_leaves_are_refused(
    arguments: list[str], cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["ingest", *arguments]) == 2
    assert cause in capsys.readouterr().err


def test_a_database_that_is_not_there_is_told_before_anything_starts(state: Path, tmp_path: Path) -> None:
    code, _, written = ingest(state, "--from", tmp_path / "gone.db")
    assert (code, written) == (1, f"lightspeed: {tmp_path}/gone.db: no such file\n")


def test_a_killed_run_is_continued(state: Path, tmp_path: Path) -> None:
    (tmp_path / "small.md").write_text("The files of the store are there before the clock starts.")
    assert ingest(state, tmp_path)[0] == 0
    parts = [f"## Part {part}\n\n" + f"Sentence {part} of a text about widgets. " * 13 for part in range(32)]
    for number in range(6):
        (tmp_path / f"d{number}.md").write_text(f"# Document {number}\n\n" + "\n\n".join(parts))
    before = stored_bytes(state)
    process = start(state, tmp_path)
    try:
        # The first batch, of four documents, takes about 0.4 MB.
        while stored_bytes(state) < before + 200_000:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    code, (added, replaced, unchanged, *_), _ = ingest(state, tmp_path)
    assert (code, replaced, added + unchanged) == (0, 0, 7)
    assert added > 0
    assert unchanged > 1


def stored_bytes(state: Path) -> int:
    return sum(file.stat().st_size for file in state.rglob("chunks.db*"))


def test_passages_are_cut_for_the_model_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightspeed.stack.client import EmbeddedStack

    counters: list[str] = []
    counter = EmbeddedStack.token_counter

    async def noted(stack: EmbeddedStack, model: str) -> Any:
        counters.append(model)
        return await counter(stack, model)

    monkeypatch.setattr(EmbeddedStack, "token_counter", noted)
    monkeypatch.setenv("LIGHTSPEED_STATE", str(tmp_path / "state"))
    (tmp_path / "a.md").write_text("The kettle must be descaled.")
    with ScriptedModel() as model:
        tree = with_store(run_configuration(tmp_path, model, **knowledge(tmp_path / "kb")), "docs")
        models = tree["registered_resources"]["models"]
        models.append(models[0] | {"model_id": "other", "provider_model_id": "other"})
        tree["vector_stores"] = {"default_embedding_model": {"provider_id": "scripted", "model_id": "other"}}
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
        stack = {"use_as_library_client": True, "library_client_config_path": str(tmp_path / "run.yaml")}
        sections = {"name": "n", "service": {}, "llama_stack": stack, "user_data_collection": {}}
        (tmp_path / "lightspeed-stack.yaml").write_text(yaml.safe_dump(sections))
        configuration = str(tmp_path / "lightspeed-stack.yaml")
        code = cli.run(["ingest", str(tmp_path / "a.md"), "--store", "docs", "-c", configuration])
    assert (code, counters) == (0, ["scripted/scripted-embedding"])
