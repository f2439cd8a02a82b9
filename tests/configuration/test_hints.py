from pathlib import Path
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
        ({"quota_handlers": {"enable_token_history": True}, "rlsapi_v1": {"quota_subject": "user_id"}}, []),
        (
            {"rlsapi_v1": {"quota_subject": "user_id"}},
            ["rlsapi_v1.quota_subject: has no effect without limiters or token history in `quota_handlers`"],
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
            [
                "authorization.access_rules: without `info` for `*`, /liveness and /readiness answer 403",
                "authorization.access_rules: without `get_metrics` for `*`, /metrics answer 403",
            ],
        ),
        ({"authorization": {"access_rules": [{"role": "*", "actions": ["admin"]}]}}, []),
        (
            {
                "authorization": RULES,
                "authentication": {
                    "module": "rh-identity",
                    "rh_identity_config": {},
                    "skip_for_health_probes": True,
                },
            },
            ["authorization.access_rules: without `info` for `*`, /liveness and /readiness answer 403"],
        ),
        (
            {"authentication": {"module": "noop-with-token", "skip_for_metrics": True}},
            ["authentication.skip_for_metrics: has no effect with the module `noop-with-token`"],
        ),
        (
            {"authentication": {"api_key_config": {"api_key": "k"}, "k8s_cluster_api": "http://k"}},
            [
                "authentication.api_key_config: has no effect; the module is `noop`, not `api-key-token`",
                "authentication.k8s_cluster_api: has no effect; the module is `noop`, not `k8s` or `trusted-proxy`",
            ],
        ),
        (
            {"service": {"cors": {"allow_origins": ["*", "https://a.example:8443", "null"]}}},
            [],
        ),
        (
            {"service": {"cors": {"allow_origins": ["a.example", "https://a.example/"]}}},
            [
                f"service.cors.allow_origins[{position}]: no page has this origin; write it as"
                " `https://www.example.com`, with nothing behind the host or port"
                for position in (0, 1)
            ],
        ),
        (
            {"llama_stack": {"use_as_library_client": True, "url": "http://h", "api_key": "k"}},
            [
                f"llama_stack.{key}: has no effect, because `use_as_library_client` is true"
                for key in ("url", "api_key")
            ],
        ),
        (
            {"inference": {"providers": [{"type": "ollama"}]}},
            ["inference.providers: has no effect, because the stack runs elsewhere"],
        ),
        (
            {"rag": {"inline": ["a", "a"], "tool": ["a"]}},
            ["rag.inline: `a` is listed 2 times; once is enough"],
        ),
        (
            {"okp": {"offline": False}},
            ["okp: has no effect while `okp` is neither in `rag.inline` nor in `rag.tool`"],
        ),
        (
            {
                "mcp_servers": [
                    {
                        "name": "s",
                        "url": "http://s",
                        "authorization_headers": {"A": "/nowhere", "B": "client"},
                    }
                ]
            },
            ["mcp_servers: `s` is not used; the file of its header `A` is missing or empty"],
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


def test_prompts_that_others_replace(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("From the file.")
    (tmp_path / "profile.py").write_text(
        "PROFILE_CONFIG = {'system_prompts': {'default': 'From the profile.'}}"
    )
    both = {"system_prompt": "Literal.", "system_prompt_path": str(tmp_path / "prompt.txt")}
    profile = {"profile_path": str(tmp_path / "profile.py")}

    def told(customization: dict[str, Any]) -> list[str]:
        return hints(Configuration.model_validate(MINIMAL | {"customization": customization}))

    assert told(both) == ["customization.system_prompt: has no effect beside `system_prompt_path`"]
    assert told(profile) == []
    assert told(profile | {"system_prompt": "Literal."}) == [
        "customization.system_prompt: has no effect; the profile has a prompt `default`"
    ]
