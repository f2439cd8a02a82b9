from typing import Any

import pytest

from lightspeed.configuration.hints import hints
from lightspeed.configuration.root import Configuration

MINIMAL = {
    "name": "n",
    "service": {},
    "llama_stack": {"url": "http://stack:8321"},
    "user_data_collection": {},
}
STORE = {"rag_id": "docs", "vector_db_id": "v", "db_path": "d"}
LIMITER = {"type": "user_limiter", "name": "n", "initial_quota": 1, "quota_increase": 1, "period": "1 day"}
RULES = {"access_rules": [{"role": "*", "actions": ["query"]}]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        (
            {"service": {"auth_enabled": True}},
            ["service.auth_enabled: has no effect; `authentication.module` decides"],
        ),
        (
            {"inference": {"context_windows": {"m": 1, "p/m": 1}}},
            ["inference.context_windows.m: is never used; keys have the form `provider/model`"],
        ),
        ({"byok_rag": [STORE], "rag": {"inline": ["docs", "okp"], "tool": ["v"]}}, []),
        (
            {"byok_rag": [STORE, STORE | {"rag_id": "other"}]},
            ["byok_rag: 2 entries share the `vector_db_id` `v`; only the first is used"],
        ),
        (
            {"mcp_servers": [{"name": "s", "url": "http://s", "authorization_headers": {"A": "kubernetes"}}]},
            [
                "mcp_servers: `s` is not used; its `kubernetes` header needs the authentication module `k8s` or `noop-with-token`"
            ],
        ),
        (
            {"quota_handlers": {"limiters": [LIMITER], "enable_token_history": True}},
            [
                "quota_handlers.limiters: limit nothing without `sqlite` or `postgres`",
                "quota_handlers.enable_token_history: has no effect without `sqlite` or `postgres`",
            ],
        ),
        (
            {"rlsapi_v1": {"quota_subject": "user_id"}},
            ["rlsapi_v1.quota_subject: has no effect without a limiter and a database in `quota_handlers`"],
        ),
        (
            {
                "rlsapi_v1": {"quota_subject": "user_id"},
                "quota_handlers": {"limiters": [LIMITER], "sqlite": {"db_path": "q"}},
            },
            [],
        ),
        (
            {"authorization": RULES},
            ["authorization.access_rules: are not used by the authentication module `noop`"],
        ),
        (
            {
                "authorization": RULES,
                "authentication": {"module": "jwk-token", "jwk_config": {"url": "http://keys"}},
            },
            ["authorization.access_rules: are not used without `role_rules` in `authentication.jwk_config`"],
        ),
        (
            {"authorization": RULES, "authentication": {"module": "rh-identity", "rh_identity_config": {}}},
            [],
        ),
    ],
)
def test_hints(given: dict[str, Any], expected: list[str]) -> None:
    assert hints(Configuration.model_validate(MINIMAL | given)) == expected


def test_ids_that_are_searched_are_checked_against_the_stores_of_the_stack() -> None:
    rag = {"inline": ["docs", "okp", "v", "vs_1"], "tool": ["vs_1", "dosc"]}
    configuration = Configuration.model_validate(MINIMAL | {"byok_rag": [STORE], "rag": rag})
    assert hints(configuration) == []
    assert hints(configuration, {"vs_1"}) == [
        "rag.tool[1]: `dosc` is neither a `rag_id` nor a store of the stack"
    ]
