from pathlib import Path
from typing import Any

from lightspeed.configuration.root import Configuration
from lightspeed.storage.database import Database
from lightspeed.storage.quota_place import configured_quotas

LIMITER = {"type": "user_limiter", "name": "n", "initial_quota": 1, "quota_increase": 1, "period": "1 day"}
MAIN = {"db_path": "main.db"}


def configuration(**quotas: Any) -> Configuration:
    return Configuration.model_validate(
        {
            "name": "n",
            "service": {},
            "llama_stack": {"url": "http://stack:8321"},
            "user_data_collection": {},
            "database": {"sqlite": MAIN},
            "quota_handlers": quotas,
        }
    )


def known(configured: Configuration) -> tuple[Any, Database]:
    return configured.database.sqlite, Database.at(Path("main.db"))


def test_nothing_is_counted_unless_it_is_asked_for() -> None:
    for quotas in ({}, {"sqlite": {"db_path": "quota.db"}}):
        assert configured_quotas(configuration(**quotas), {}) is None


def test_a_place_of_its_own() -> None:
    configured = configuration(sqlite={"db_path": "quota.db"}, limiters=[LIMITER])
    place, main = known(configured)
    quotas = configured_quotas(configured, {place: main})
    assert quotas is not None
    assert quotas.database.name.endswith("quota.db")
    assert ([limit.name for limit in quotas.limits], quotas.keeps_history) == (["n"], False)
    postgres = {"db": "d", "user": "u", "password": "p"}
    quotas = configured_quotas(configuration(postgres=postgres, limiters=[LIMITER]), {place: main})
    assert quotas is not None
    assert quotas.database.dialect == "postgresql"


def test_the_same_place_is_the_same_database() -> None:
    for block in (
        {"sqlite": MAIN, "limiters": [LIMITER], "enable_token_history": True},
        {"enable_token_history": True},
    ):
        configured = configuration(**block)
        place, main = known(configured)
        quotas = configured_quotas(configured, {place: main})
        assert quotas is not None
        assert quotas.database is main
        assert quotas.keeps_history
