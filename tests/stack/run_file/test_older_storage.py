from pathlib import Path
from typing import Any

from lightspeed.stack.run_file.older_storage import upgrade_storage

STATE = Path("/state")
BOTH = {"kv_default": {"type": "kv_sqlite"}, "sql_default": {"type": "sql_sqlite"}}


def test_databases_at_the_top() -> None:
    tree: dict[str, Any] = {
        "metadata_store": {"type": "sqlite", "db_path": "/d/registry.db", "namespace": None},
        "inference_store": {"type": "postgres", "host": "h", "user": "u", "password": "p", "table_name": "t"},
        "conversations_store": {"type": "sqlite", "db_path": "/d/conversations.db"},
    }
    assert list(upgrade_storage(tree, STATE)) == [
        "metadata_store: is `storage.stores.metadata` now",
        "inference_store: is `storage.stores.inference` now",
        "conversations_store: is `storage.stores.conversations` now",
    ]
    assert tree == {
        "storage": {
            "backends": {
                "kv_metadata": {"type": "kv_sqlite", "db_path": "/d/registry.db"},
                "sql_inference": {"type": "sql_postgres", "host": "h", "user": "u", "password": "p"},
                "sql_conversations": {"type": "sql_sqlite", "db_path": "/d/conversations.db"},
            },
            "stores": {
                "metadata": {"backend": "kv_metadata", "namespace": "registry"},
                "inference": {"backend": "sql_inference", "table_name": "t"},
                "conversations": {"backend": "sql_conversations", "table_name": "openai_conversations"},
                "prompts": {"backend": "kv_metadata", "namespace": "prompts"},
                "connectors": {"backend": "kv_metadata", "namespace": "connectors"},
            },
        }
    }


def test_what_both_layouts_say_is_taken_from_the_new_one() -> None:
    stores = {"metadata": {"backend": "kv_default", "namespace": "registry"}}
    tree: dict[str, Any] = {
        "metadata_store": {"type": "sqlite", "db_path": "/old.db"},
        "storage": {"backends": BOTH, "stores": stores},
    }
    assert list(upgrade_storage(tree, STATE)) == [
        "metadata_store: has no effect beside `storage.stores.metadata`"
    ]
    assert tree["storage"]["backends"] == BOTH
    assert tree["storage"]["stores"]["metadata"] == stores["metadata"]


def test_without_databases_they_are_in_the_state_directory() -> None:
    tree: dict[str, Any] = {}
    assert len(list(upgrade_storage(tree, STATE))) == 2
    assert tree["storage"]["backends"] == {
        "kv_default": {"type": "kv_sqlite", "db_path": "/state/stack/registry.db"},
        "sql_default": {"type": "sql_sqlite", "db_path": "/state/stack/stack.db"},
    }
    assert set(tree["storage"]["stores"]) == {
        "metadata",
        "inference",
        "conversations",
        "prompts",
        "connectors",
    }


def test_stores_find_databases_of_any_name_and_stay_off_when_they_are() -> None:
    backends = {"a": {"type": "kv_redis"}, "b": {"type": "sql_postgres"}}
    tree: dict[str, Any] = {"storage": {"backends": backends, "stores": {"inference": None}}}
    assert list(upgrade_storage(tree, STATE)) == []
    stores = tree["storage"]["stores"]
    assert stores["metadata"] == {"backend": "a", "namespace": "registry"}
    assert stores["inference"] is None
    assert stores["conversations"] == {"backend": "b", "table_name": "openai_conversations"}


def test_prompts_of_later_versions_are_in_a_table() -> None:
    stores = {"prompts": {"backend": "sql_default", "table_name": "my_prompts"}}
    tree: dict[str, Any] = {"storage": {"backends": BOTH, "stores": stores}}
    list(upgrade_storage(tree, STATE))
    assert tree["storage"]["stores"]["prompts"] == {"backend": "kv_default", "namespace": "my_prompts"}


def test_databases_of_providers() -> None:
    def provider(kind: str, **config: Any) -> dict[str, Any]:
        return {"provider_id": "p", "provider_type": kind, "config": config}

    database = {"type": "sqlite", "db_path": "/d/x.db"}
    tree: dict[str, Any] = {
        "providers": {
            "vector_io": [provider("inline::faiss", kvstore=database)],
            "responses": [
                provider("inline::builtin", persistence_store=database | {"namespace": "n"}, responses_store=database)
            ],
            "files": [provider("inline::localfs", metadata_store=database, storage_dir="/files")],
            "eval": [provider("inline::builtin", kvstore={"backend": "kv_default", "namespace": "eval"})],
        },
        "storage": {"backends": BOTH},
    }  # fmt: skip
    assert list(upgrade_storage(tree, STATE)) == [
        "providers.vector_io.p.config.kvstore: its database is in `storage.backends` now",
        "providers.responses.p.config.persistence_store: its database is in `storage.backends` now",
        "providers.responses.p.config.responses_store: its database is in `storage.backends` now",
        "providers.files.p.config.metadata_store: its database is in `storage.backends` now",
    ]
    configs = {api: entries[0]["config"] for api, entries in tree["providers"].items()}
    assert configs == {
        "vector_io": {"persistence": {"backend": "kv_vector_io_p", "namespace": "vector_io::faiss"}},
        "responses": {
            "persistence": {
                "agent_state": {"backend": "kv_responses_p", "namespace": "n"},
                "responses": {"backend": "sql_responses_p", "table_name": "responses"},
            }
        },
        "files": {
            "metadata_store": {"backend": "sql_files_p", "table_name": "files_metadata"},
            "storage_dir": "/files",
        },
        "eval": {"kvstore": {"backend": "kv_default", "namespace": "eval"}},
    }
    kinds = {name: settings["type"] for name, settings in tree["storage"]["backends"].items()}
    assert kinds["sql_files_p"] == "sql_sqlite"
    assert kinds["kv_vector_io_p"] == "kv_sqlite"


def test_responses_without_a_place_for_agents_get_one() -> None:
    config = {"persistence": {"responses": {"backend": "sql_default", "table_name": "r"}}}
    tree: dict[str, Any] = {
        "providers": {"responses": [{"provider_id": "p", "config": config}]},
        "storage": {"backends": BOTH},
    }
    list(upgrade_storage(tree, STATE))
    assert config["persistence"]["agent_state"] == {"backend": "kv_default", "namespace": "agents"}
