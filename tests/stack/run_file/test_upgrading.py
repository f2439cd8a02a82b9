"""Whole run configurations of earlier versions, up to a running stack."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from anyio import to_thread

from lightspeed.stack.chat import ChatRequest
from lightspeed.stack.enrichment import enriched
from lightspeed.stack.run_configuration import read_run_file
from lightspeed.stack.run_file.reading import RunFile, read_run
from lightspeed.stack.run_file.upgrading import upgraded
from tests.embedded import embedded_stack, knowledge, run_configuration, with_store
from tests.scripted_model import ScriptedModel
from tests.stack.run_file.older_files import STOCK_0_3, STOCK_0_6

ROOT = Path(__file__).parents[3]


def write(folder: Path, text: str) -> Path:
    file = folder / "run.yaml"
    file.write_text(text)
    return file


def read(folder: Path, text: str, **environment: str) -> RunFile:
    file = write(folder, text)
    variables = {
        "STATE": str(folder / "data"),
        "MODEL_URL": "http://model/v1",
        "OPENAI_API_KEY": "k",
        "KEY": "k",
    }
    return read_run(file, variables | environment, folder / "state")


def for_the_stack(folder: Path, text: str, environment: dict[str, str]) -> dict[str, Any]:
    run = read(folder, text, **environment)
    return enriched(run.tree, (), run.source, folder / "state")


def test_a_file_of_0_6_is_told_what_has_changed(tmp_path: Path) -> None:
    run = read(tmp_path, STOCK_0_6)
    assert list(run.notices) == [
        "image_name: is `distro_name` now",
        "external_providers_dir: there is no such folder; left out",
        "apis: `agents` is `responses` now",
        "apis: `telemetry` is not part of the stack any more; left out",
        "providers.vector_io.solr-vector: left out; `okp` in `rag` of the service's file searches the portal",
        "providers.tool_runtime.rag-runtime: the type `inline::rag-runtime` is `inline::file-search` now",
        "providers.eval.meta-reference: the type `inline::meta-reference` is `inline::builtin` now",
        "providers.responses.meta-reference: the type `inline::meta-reference` is `inline::builtin` now",
        "registered_resources.tool_groups: has no effect; MCP servers belong in `mcp_servers` of the service's"
        " file, other groups come with their providers",
        "server: has no effect, because no server of the stack is started",
        "telemetry: is not part of the stack any more; has no effect",
    ]
    assert run.tree["distro_name"] == "starter"
    assert "agents" not in run.tree["apis"]
    assert "agents" not in run.tree["providers"]
    stores = run.tree["registered_resources"]["vector_stores"]
    assert [store["vector_store_id"] for store in stores] == ["docs"]


@pytest.mark.anyio
async def test_a_file_of_0_6_runs(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        variables = {"MODEL_URL": model.base_url, "OPENAI_API_KEY": "0012345"}
        tree = await to_thread.run_sync(for_the_stack, tmp_path, STOCK_0_6, variables)
        async with embedded_stack(tree) as stack:
            models = {found.identifier for found in await stack.models()}
            assert models == {"openai/scripted", "openai/scripted-embedding"}
            assert await stack.knowledge.ids() == ["docs"]
            request = ChatRequest("openai/scripted", [{"role": "user", "content": "Hello"}], stream=True)
            assert "".join([piece.text async for piece in await stack.chat(request)])
        assert model.requests[-1].headers["authorization"] == "Bearer 0012345"


@pytest.mark.anyio
async def test_a_file_of_0_3_runs(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        variables = {"MODEL_URL": model.base_url, "KEY": "0012"}
        tree = await to_thread.run_sync(for_the_stack, tmp_path, STOCK_0_3, variables)
        assert tree["providers"]["inference"][0]["config"]["network"] == {"tls": {"verify": False}}
        async with embedded_stack(tree) as stack:
            assert "chat/scripted" in {found.identifier for found in await stack.models()}
            assert await stack.knowledge.ids() == ["index"]
    made = await to_thread.run_sync(lambda: {file.name for file in (tmp_path / "data").iterdir()})
    assert {"registry.db", "agents_store.db", "faiss_store.db.lightspeed"} <= made


def test_what_is_new_already_stays_as_it_is(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        files: list[dict[str, Any]] = [
            read_run_file(ROOT / "config" / "run.yaml", {"LIGHTSPEED_STATE": str(tmp_path)}),
            with_store(run_configuration(tmp_path, model, **knowledge(tmp_path / "k")), "docs"),
        ]
    for tree in files:
        new = upgraded(tree, tmp_path)
        assert new.notices == ()
        assert new.tree == tree
        again = upgraded(new.tree, tmp_path)
        assert again.tree == new.tree


@pytest.mark.parametrize("text", [STOCK_0_6, STOCK_0_3])
def test_the_given_tree_is_not_changed_and_the_new_one_is_final(tmp_path: Path, text: str) -> None:
    tree = yaml.safe_load(text)
    new = upgraded(tree, tmp_path)
    assert tree == yaml.safe_load(text)
    assert upgraded(new.tree, tmp_path).tree == new.tree


@pytest.mark.parametrize(
    ("key", "notice"),
    [
        ({"telemetry": {"enabled": True}}, "telemetry: is not part of the stack any more; has no effect"),
        ({"conda_env": "x"}, "conda_env: tells how the former image was built; has no effect"),
        ({"provdiers": {"a": 1}}, "provdiers: is not a key of the stack; has no effect"),
        ({"benchmarks": [], "docker_image": None}, None),
    ],
)
def test_keys_without_effect(tmp_path: Path, key: dict[str, Any], notice: str | None) -> None:
    tree = {"distro_name": "d", "providers": {}, "storage": {"backends": {"kv_default": {"type": "kv_sqlite"}, "sql_default": {"type": "sql_sqlite"}}}}  # fmt: skip
    new = upgraded(tree | key, tmp_path)
    assert new.notices == ((notice,) if notice else ())
    assert not set(key) & set(new.tree)


def test_a_file_with_a_wrong_shape_is_left_to_the_checks(tmp_path: Path) -> None:
    tree = {
        "providers": [1],
        "apis": 2,
        "storage": 3,
        "registered_resources": 4,
        "vector_dbs": 5,
        "models": 6,
    }
    new = upgraded(tree, tmp_path).tree
    assert {key: new[key] for key in ("providers", "apis", "storage", "registered_resources")} == {
        "providers": [1], "apis": 2, "storage": 3, "registered_resources": 4,
    }  # fmt: skip
