"""Reading run.yaml."""

from pathlib import Path

import pytest

from lightspeed.errors import ConfigurationError
from lightspeed.stack.run_configuration import for_knowledge_only, load_run_configuration


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    return file


def test_variables_are_replaced_and_folders_made(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
version: 2
providers:
  inference:
    - {provider_id: "${env.KEY:+openai}", config: {api_key: "${env.KEY:=}", limit: "${env.LIMIT:=3}"}}
    - {provider_id: local}
storage: {backends: {kv: {type: kv_sqlite, db_path: "${env.STATE}/deep/kv.db"}}}
""",
    )
    state = tmp_path / "state"
    configuration = load_run_configuration(file, {"STATE": str(state), "KEY": "123"})
    openai, local = configuration["providers"]["inference"]
    assert (openai["provider_id"], openai["config"]) == ("openai", {"api_key": "123", "limit": 3})
    assert local == {"provider_id": "local"}
    assert (state / "deep").is_dir()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a", "must be a mapping"),
        ("a: ${env.NOWHERE}", "NOWHERE"),
        ("a: [", "is not valid YAML"),
        ("", "must be a mapping"),
    ],
)
def test_mistakes_are_one_line_that_names_the_file(tmp_path: Path, text: str, problem: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_run_configuration(file, {})
    (line,) = caught.value.problems
    assert line.startswith(f"{file}: ")
    assert problem in line


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    file = write(tmp_path, f"storage: {{backends: {{kv: {{db_path: {tmp_path}/taken/x/kv.db}}}}}}")
    with pytest.raises(ConfigurationError, match="cannot make"):
        load_run_configuration(file, {})


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "kv.db").write_text("this is no database")
    file = write(tmp_path, f"storage: {{backends: {{kv: {{type: kv_sqlite, db_path: {tmp_path}/kv.db}}}}}}")
    with pytest.raises(ConfigurationError, match=r"kv\.db is not a SQLite database"):
        load_run_configuration(file, {})


def test_knowledge_needs_only_what_makes_embeddings() -> None:
    configuration = {
        "providers": {
            "inference": [{"provider_id": "llm"}, {"provider_id": "onnx"}],
            "vector_io": [{}, {"provider_type": "inline::faiss-sqlite"}],
        },
        "registered_resources": {
            "models": [
                {"model_id": "a", "provider_id": "onnx", "model_type": "embedding"},
                {"model_id": "b", "provider_id": "llm", "model_type": "llm"},
            ],
            "vector_stores": [{"vector_store_id": "s", "embedding_model": "onnx/a"}],
        },
    }
    kept = for_knowledge_only(configuration)
    assert kept["providers"] == {
        "inference": [{"provider_id": "onnx"}],
        "vector_io": [{}, {"provider_type": "inline::faiss-sqlite", "config": {"read_files": False}}],
    }
    assert [model["model_id"] for model in kept["registered_resources"]["models"]] == ["a"]
    assert len(configuration["providers"]["inference"]) == 2
