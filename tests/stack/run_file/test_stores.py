from typing import Any

import pytest

from lightspeed.configuration.root import Configuration
from lightspeed.stack.run_file.stores import impossible_stores, known_stores

SERVICE: dict[str, Any] = {
    "name": "n",
    "service": {},
    "llama_stack": {"use_as_library_client": True},
    "user_data_collection": {},
    "byok_rag": [{"rag_id": "own", "vector_db_id": "vs_own", "db_path": "d"}],
    "rag": {"inline": ["own", "vs_own", "registered", "okp"], "tool": ["made", "own"]},
}
REGISTERED = {"vector_stores": [{"vector_store_id": "registered"}]}
READ_ONLY = {"provider_id": "byok_own", "config": {"read_only": True}}


@pytest.mark.parametrize(
    ("providers", "possible"),
    [
        ([], False),
        ([READ_ONLY], False),
        ([READ_ONLY, {"provider_id": None}], False),
        ([READ_ONLY, {"provider_id": "faiss", "config": {}}], True),
        ([{"provider_id": "qdrant"}], True),
    ],
)
def test_an_unknown_store_is_a_mistake_only_where_none_can_be_made(
    providers: list[dict[str, Any]], possible: bool
) -> None:
    configuration = Configuration.model_validate(SERVICE)
    tree = {"providers": {"vector_io": providers}, "registered_resources": REGISTERED}
    assert known_stores(configuration, tree) == {"okp", "own", "vs_own", "registered"}
    found = list(impossible_stores(configuration, tree))
    assert found == (
        []
        if possible
        else [
            "rag.tool[0]: `made` is neither a `rag_id` nor a store of run.yaml, which has no provider that could"
            " hold others"
        ]
    )
