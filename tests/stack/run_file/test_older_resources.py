from typing import Any

from lightspeed.stack.run_file.older_resources import upgrade_resources


def test_resources_at_the_top_join_those_that_are_registered() -> None:
    tree: dict[str, Any] = {
        "models": [{"model_id": "a", "provider_id": "p"}, {"model_id": "b"}],
        "shields": [{"shield_id": "s"}],
        "datasets": [],
        "registered_resources": {"models": [{"model_id": "a", "provider_id": "q"}]},
    }
    assert list(upgrade_resources(tree)) == [
        "models: is in `registered_resources` now",
        "shields: is in `registered_resources` now",
    ]
    assert tree == {
        "registered_resources": {
            "models": [{"model_id": "a", "provider_id": "q"}, {"model_id": "b"}],
            "shields": [{"shield_id": "s"}],
        }
    }


def test_databases_are_stores_with_whole_names_of_models() -> None:
    database = {
        "vector_db_id": "v",
        "provider_vector_db_id": "w",
        "vector_db_name": "n",
        "provider_id": "f",
        "embedding_model": "mini",
        "embedding_dimension": 384,
    }
    tree: dict[str, Any] = {
        "models": [{"model_id": "mini", "provider_id": "onnx", "provider_model_id": "all-MiniLM"}],
        "vector_dbs": [database, {"vector_db_id": "there"}],
        "registered_resources": {
            "vector_dbs": [{"vector_db_id": "other", "embedding_model": "onnx/all-MiniLM"}],
            "vector_stores": [{"vector_store_id": "there", "provider_id": "g"}],
        },
        "vector_stores": {"default_provider_id": "f"},
    }
    notices = list(upgrade_resources(tree))
    assert notices[0] == "registered_resources.vector_dbs: is `registered_resources.vector_stores` now"
    assert notices[-1] == "vector_dbs: is `registered_resources.vector_stores` now"
    assert tree["vector_stores"] == {"default_provider_id": "f"}
    there, other, new = tree["registered_resources"]["vector_stores"]
    assert there == {"vector_store_id": "there", "provider_id": "g"}
    assert other == {"vector_store_id": "other", "embedding_model": "onnx/all-MiniLM"}
    assert new == {
        "vector_store_id": "v",
        "provider_vector_store_id": "w",
        "vector_store_name": "n",
        "provider_id": "f",
        "embedding_model": "onnx/all-MiniLM",
        "embedding_dimension": 384,
    }


def test_tool_groups_are_told_once_for_each_place() -> None:
    groups = [{"toolgroup_id": "mcp::x", "provider_id": "model-context-protocol"}]
    tree: dict[str, Any] = {"tool_groups": groups, "registered_resources": {"tool_groups": groups}}
    first, second = upgrade_resources(tree)
    assert first.startswith("registered_resources.tool_groups: has no effect; MCP servers belong in")
    assert second.startswith("tool_groups: has no effect; MCP servers belong in")
    assert tree == {"registered_resources": {}}
