from typing import Any

import pytest

from lightspeed.stack.run_file.older_providers import upgrade_providers


def upgrade(
    api: str, kind: str, config: dict[str, Any] | None, **more: Any
) -> tuple[dict[str, Any], list[str]]:
    provider = {"provider_id": "p", "provider_type": kind, "config": config, **more}
    notices = list(upgrade_providers({"providers": {api: [provider]}}))
    return provider, notices


@pytest.mark.parametrize(
    ("api", "old", "new"),
    [
        ("responses", "inline::meta-reference", "inline::builtin"),
        ("eval", "inline::meta-reference", "inline::builtin"),
        ("tool_runtime", "inline::rag-runtime", "inline::file-search"),
        ("vector_io", "inline::meta-reference", "inline::faiss"),
        ("vector_io", "inline::sqlite_vec", "inline::sqlite-vec"),
    ],
)
def test_types(api: str, old: str, new: str) -> None:
    provider, notices = upgrade(api, old, None)
    assert provider == {"provider_id": "p", "provider_type": new, "config": {}}
    assert notices == [f"providers.{api}.p: the type `{old}` is `{new}` now"]


def test_types_of_modules_are_their_own() -> None:
    provider, notices = upgrade("eval", "inline::meta-reference", {}, module="mine")
    assert provider["provider_type"] == "inline::meta-reference"
    assert notices == []


@pytest.mark.parametrize(
    ("kind", "config", "address"),
    [
        ("remote::vllm", {"url": "http://h:8000/v1"}, "http://h:8000/v1"),
        ("remote::vllm", {"url": "http://h:8000"}, "http://h:8000"),
        ("remote::watsonx", {"url": "https://h"}, "https://h"),
        ("remote::azure", {"api_base": "https://h/openai/v1"}, "https://h/openai/v1"),
        ("remote::llama-openai-compat", {"openai_compat_api_base": "https://h/compat/v1/"}, "https://h/compat/v1/"),
        ("remote::ollama", {"url": "http://h:11434"}, "http://h:11434/v1"),
        ("remote::ollama", {"url": "http://h:11434/v1"}, "http://h:11434/v1"),
        ("remote::groq", {"url": "https://api.groq.com"}, "https://api.groq.com/openai/v1"),
        ("remote::nvidia", {"url": "https://h/"}, "https://h/v1"),
    ],
)  # fmt: skip
def test_addresses(kind: str, config: dict[str, Any], address: str) -> None:
    (old,) = config
    provider, notices = upgrade("inference", kind, config)
    assert provider["config"] == {"base_url": address}
    assert notices == [f"providers.inference.p.config.{old}: is `base_url` now"]


def test_the_new_address_wins() -> None:
    provider, notices = upgrade("inference", "remote::vllm", {"url": "http://old", "base_url": "http://new"})
    assert provider["config"] == {"base_url": "http://new"}
    assert notices == ["providers.inference.p.config.url: has no effect beside `base_url`"]


@pytest.mark.parametrize(
    ("given", "kept"), [("false", False), ("True", True), (False, False), ("/ca.pem", "/ca.pem")]
)
def test_certificates(given: object, kept: object) -> None:
    provider, notices = upgrade("inference", "remote::vllm", {"base_url": "http://h", "tls_verify": given})
    assert provider["config"] == {"base_url": "http://h", "network": {"tls": {"verify": kept}}}
    assert notices == ["providers.inference.p.config.tls_verify: is `network.tls.verify` now"]


def test_what_the_network_says_of_certificates_wins() -> None:
    network = {"timeout": 5, "tls": {"verify": True}}
    provider, notices = upgrade("inference", "remote::vllm", {"network": network, "tls_verify": False})
    assert provider["config"] == {"network": network}
    assert notices == ["providers.inference.p.config.tls_verify: has no effect beside `network`"]


def test_addresses_of_other_providers_stay() -> None:
    assert upgrade("vector_io", "remote::qdrant", {"url": "http://h"})[0]["config"] == {"url": "http://h"}
    assert upgrade("inference", "inline::mine", {"url": "x"})[0]["config"] == {"url": "x"}


def test_the_portal_goes_with_its_stores_unless_a_folder_provides_it() -> None:
    portal = {"provider_id": "okp_solr", "provider_type": "remote::solr_vector_io"}
    faiss = {"provider_id": "faiss", "provider_type": "inline::faiss", "config": {}}

    def tree() -> dict[str, Any]:
        stores = [
            {"vector_store_id": "portal-rag", "provider_id": "okp_solr"},
            {"vector_store_id": "docs", "provider_id": "faiss"},
        ]
        return {
            "providers": {"vector_io": [portal, faiss]},
            "registered_resources": {"vector_stores": stores},
            "vector_dbs": [{"vector_db_id": "portal-rag", "provider_id": "okp_solr"}],
        }

    without = tree()
    (notice,) = upgrade_providers(without)
    assert notice.startswith("providers.vector_io.okp_solr: left out; ")
    assert without["providers"]["vector_io"] == [faiss]
    assert [store["vector_store_id"] for store in without["registered_resources"]["vector_stores"]] == [
        "docs"
    ]
    assert without["vector_dbs"] == []
    with_folder = tree() | {"external_providers_dir": "/somewhere"}
    assert list(upgrade_providers(with_folder)) == []
    assert len(with_folder["providers"]["vector_io"]) == 2
