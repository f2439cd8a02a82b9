from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, ValidationError

from lightspeed.configuration.substitution import substitute
from lightspeed.stack.run_file.values import unknown_keys, with_texts


class Inner(BaseModel):
    name: str


class Settings(BaseModel):
    key: SecretStr | None = Field(default=None, alias="api_key")
    project: str = ""
    limit: int = 0
    timeout: float | None = None
    names: list[str] = []
    inner: Inner | None = None
    free: dict[str, Any] = {}
    base_url: HttpUrl | None = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


def given(text: str) -> Any:
    return substitute("${env.VALUE}", {"VALUE": text}, retype=True)


def test_numbers_of_variables_become_text_where_text_is_wanted() -> None:
    values = {
        "project": given("0042"),
        "limit": given("7"),
        "timeout": given("1.5"),
        "names": [given("1e3"), "a"],
        "inner": {"name": given("5")},
        "free": {"dimension": given("384")},
    }
    settings, kept = with_texts(Settings.model_validate, values)
    assert (settings.project, settings.limit, settings.timeout) == ("0042", 7, 1.5)
    assert settings.names == ["1e3", "a"]
    assert settings.inner is not None
    assert settings.inner.name == "5"
    assert settings.free == {"dimension": 384}
    assert Settings.model_validate(kept) == settings
    assert values["project"] == 42


def test_a_secret_of_digits_is_the_text_that_it_was() -> None:
    settings, _ = with_texts(Settings.model_validate, {"api_key": given("0012345")})
    assert settings.key is not None
    assert settings.key.get_secret_value() == "0012345"


def test_numbers_of_the_file_itself_are_still_refused() -> None:
    with pytest.raises(ValidationError):
        with_texts(Settings.model_validate, {"project": 42})
    with pytest.raises(ValidationError):
        with_texts(Settings.model_validate, {"project": given("42"), "limit": "many"})


def test_keys_that_a_model_passes_over() -> None:
    values = {"api_key": "k", "projekt": "p", "limit": 1}
    assert list(unknown_keys(Settings, values)) == ["projekt"]
    assert list(unknown_keys(Open, values)) == []
    assert list(unknown_keys(Closed, values)) == []
