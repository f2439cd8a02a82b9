"""One file instead of two."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from anyio import to_thread

from lightspeed.configuration.loading import load_configuration
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError
from lightspeed.plan import Plan, read_plan
from lightspeed.stack.chat import ChatRequest
from lightspeed.stack.run_configuration import read_run_file
from lightspeed.stack.run_file.synthesis import bundled_run_file, merged, synthesised
from tests.embedded import embedded_stack
from tests.scripted_model import ScriptedModel

ROOT = Path(__file__).parents[3]


def sections(**more: Any) -> dict[str, Any]:
    stack = {"use_as_library_client": True} | more.pop("llama_stack", {})
    return {"name": "n", "service": {}, "llama_stack": stack, "user_data_collection": {}, **more}


def made(state: Path, environment: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return synthesised(Configuration.model_validate(sections(**more)), environment or {}, state)


def ids(tree: dict[str, Any], api: str) -> list[str]:
    return [provider["provider_id"] for provider in tree["providers"][api]]


@pytest.mark.parametrize("environment", [{}, {"OPENAI_API_KEY": "k", "LIGHTSPEED_MODEL": "/m.gguf"}])
def test_without_anything_it_is_the_bundled_file(tmp_path: Path, environment: dict[str, str]) -> None:
    tree = made(tmp_path, environment, rag={"inline": ["lightspeed-docs"]})
    assert bundled_run_file() == ROOT / "config" / "run.yaml"
    bundled = read_run_file(bundled_run_file(), environment | {"LIGHTSPEED_STATE": str(tmp_path)})
    assert tree == bundled


def test_providers_replace_the_bundled_models_and_keep_the_embeddings(tmp_path: Path) -> None:
    tree = made(tmp_path, {"OPENAI_API_KEY": "k"}, inference={"providers": [{"type": "ollama"}]})
    assert ids(tree, "inference") == ["ollama", "onnx"]
    assert [model["model_id"] for model in tree["registered_resources"]["models"]] == ["all-MiniLM-L6-v2"]


def test_ids_of_rag_that_stand_for_nothing_else_are_stores(tmp_path: Path) -> None:
    byok = [{"rag_id": "own", "vector_db_id": "vs_own", "db_path": "d"}]
    rag = {"inline": ["own", "products", "okp"], "tool": ["manuals", "vs_own", "products"]}
    stores = made(tmp_path, rag=rag, byok_rag=byok)["registered_resources"]["vector_stores"]
    assert [store["vector_store_id"] for store in stores] == ["knowledge", "products", "manuals"]
    assert {(store["provider_id"], store["embedding_model"]) for store in stores} == {
        ("faiss", "onnx/all-MiniLM-L6-v2")
    }


def test_native_settings_are_merged_and_lists_replaced(tmp_path: Path) -> None:
    native = {"apis": ["inference"], "storage": {"stores": {"prompts": None}}, "connectors": []}
    tree = made(tmp_path, llama_stack={"config": {"native_override": native}})
    assert tree["apis"] == ["inference"]
    assert tree["storage"]["stores"]["prompts"] is None
    assert tree["storage"]["stores"]["metadata"]["backend"] == "kv_default"
    assert merged({"a": {"b": 1}}, {"a": [2]}) == {"a": [2]}


def test_a_profile_is_what_it_begins_with(tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    entry = {"provider_id": "mine", "provider_type": "remote::vllm", "config": {"api_token": "${env.TOKEN}"}}
    profile.write_text(yaml.safe_dump({"distro_name": "p", "providers": {"inference": [entry]}}))
    tree = made(
        tmp_path,
        {"TOKEN": "0012"},
        llama_stack={"config": {"profile": str(profile)}},
        inference={"providers": [{"type": "ollama"}]},
    )
    assert ids(tree, "inference") == ["ollama", "mine"]
    assert tree["providers"]["inference"][1]["config"]["api_token"] == "0012"
    with pytest.raises(ConfigurationError, match="TOKEN"):
        made(tmp_path, llama_stack={"config": {"profile": str(profile)}})


def test_nothing_to_begin_with(tmp_path: Path) -> None:
    tree = made(
        tmp_path,
        llama_stack={"config": {"baseline": "empty"}},
        inference={"providers": [{"type": "ollama"}]},
    )
    assert tree == {
        "providers": {
            "inference": [{"provider_id": "ollama", "provider_type": "remote::ollama", "config": {}}]
        }
    }


def test_a_profile_beside_the_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "profile.yaml").write_text("distro_name: p\nproviders: {}\n")
    file = folder / "lightspeed-stack.yaml"
    file.write_text(yaml.safe_dump(sections(llama_stack={"config": {"profile": "profile.yaml"}})))
    monkeypatch.chdir(tmp_path)
    configuration = load_configuration(file, {"LIGHTSPEED_STATE": str(tmp_path)})
    assert configuration.llama_stack.config is not None
    assert configuration.llama_stack.config.profile == folder / "profile.yaml"


def plan_of(folder: Path, content: dict[str, Any], environment: dict[str, str]) -> Plan:
    file = folder / "lightspeed-stack.yaml"
    file.write_text(yaml.safe_dump(content))
    variables = environment | {"LIGHTSPEED_STATE": str(folder / "state")}
    return read_plan(load_configuration(file, variables), file, variables)


@pytest.mark.anyio
async def test_a_stack_runs_from_one_file(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        entry = {
            "type": "openai",
            "api_key_env": "MY_KEY",
            "base_url": model.base_url,
            "allowed_models": ["scripted"],
        }
        content = sections(inference={"providers": [entry]}, rag={"inline": ["products"]})
        plan = await to_thread.run_sync(plan_of, tmp_path, content, {"MY_KEY": "0012345"})
        assert plan.configured_stores == {"knowledge", "products"}
        assert plan.run_configuration_file == tmp_path / "lightspeed-stack.yaml"
        async with embedded_stack(dict(plan.run_configuration)) as stack:
            models = {found.identifier for found in await stack.models()}
            assert models == {"openai/scripted", "onnx/all-MiniLM-L6-v2"}
            assert sorted(await stack.knowledge.ids()) == ["knowledge", "products"]
            request = ChatRequest("openai/scripted", [{"role": "user", "content": "Hello"}], stream=True)
            assert "".join([piece.text async for piece in await stack.chat(request)])
        assert model.requests[-1].headers["authorization"] == "Bearer 0012345"
    written = await to_thread.run_sync(lambda: [file.name for file in tmp_path.rglob("*.yaml")])
    assert written == ["lightspeed-stack.yaml"]
