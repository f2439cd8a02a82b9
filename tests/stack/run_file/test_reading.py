from pathlib import Path
from typing import Any

import pytest
import yaml

from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError
from lightspeed.stack.run_file.reading import read_run, read_run_configuration

SERVICE: dict[str, Any] = {"name": "n", "service": {}, "user_data_collection": {}}


def configuration(**stack: Any) -> Configuration:
    return Configuration.model_validate(SERVICE | {"llama_stack": {"use_as_library_client": True, **stack}})


def test_a_file_is_read_and_folders_are_made_only_when_wanted(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    backends = {"kv": {"type": "kv_sqlite", "db_path": "${env.STATE}/deep/kv.db"}}
    file.write_text(yaml.safe_dump({"providers": {}, "storage": {"backends": backends}}))
    named = configuration(library_client_config_path=str(file))
    variables, state = {"STATE": str(tmp_path / "data")}, tmp_path / "state"
    source = tmp_path / "lightspeed-stack.yaml"
    run = read_run_configuration(named, source, variables, state, make_folders=False)
    assert run.source == file
    assert run.tree["storage"]["backends"]["kv"]["db_path"] == f"{tmp_path}/data/deep/kv.db"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.yaml"]
    read_run_configuration(named, source, variables, state)
    assert (tmp_path / "data" / "deep").is_dir()
    assert (state / "stack").is_dir()


def test_without_a_file_mistakes_are_those_of_the_services_own(tmp_path: Path) -> None:
    source = tmp_path / "lightspeed-stack.yaml"
    run = read_run_configuration(configuration(), source, {}, tmp_path / "state", make_folders=False)
    assert run.source == source
    assert run.notices == ()
    assert list(tmp_path.iterdir()) == []
    wrong = configuration(config={"native_override": {"apis": ["inferense"]}})
    with pytest.raises(ConfigurationError) as caught:
        read_run_configuration(wrong, source, {}, tmp_path)
    assert caught.value.problems == [
        f"{source}: apis[0]: there is no API `inferense`; did you mean `inference`?"
    ]


def test_all_damaged_databases_are_told(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    for name in ("kv.db", "sql.db"):
        (tmp_path / name).write_text("no database")
    backends = {
        "kv": {"type": "kv_sqlite", "db_path": f"{tmp_path}/kv.db"},
        "sql": {"type": "sql_sqlite", "db_path": f"{tmp_path}/sql.db"},
    }
    file.write_text(yaml.safe_dump({"providers": {}, "storage": {"backends": backends}}))
    with pytest.raises(ConfigurationError) as caught:
        read_run(file, {}, tmp_path / "state")
    assert caught.value.problems == [
        f"{file}: storage.backends: {tmp_path}/{name} is not a SQLite database"
        for name in ("kv.db", "sql.db")
    ]
