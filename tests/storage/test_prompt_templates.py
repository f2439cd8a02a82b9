import pytest

from lightspeed.errors import Unprocessable
from lightspeed.storage.prompt_templates import placeholders, rendered, undeclared


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("", []),
        ("Hello {{ name }}, {{name}} of {{\tproduct-2.x\n}}", ["name", "product-2.x"]),
        ("{name} {{ }} {{two words}} {% x %} {{a}b}", []),
        ("{{{ x }}}", ["x"]),
    ],
)
def test_placeholders(template: str, names: list[str]) -> None:
    assert placeholders(template) == names
    assert undeclared(template, names) == []
    assert undeclared(template, []) == names


def test_values_take_the_place_of_placeholders() -> None:
    values = {"a": r"\1 {{ b }}", "b": "second"}
    assert (
        rendered("{{ a }}/{{b}}/{{ a }} { b }", ["a", "b"], values) == r"\1 {{ b }}/second/\1 {{ b }} { b }"
    )
    assert rendered("nothing", ["a"], {}) == "nothing"


def test_values_must_fit() -> None:
    with pytest.raises(Unprocessable, match=r"needs values for: b, c\."):
        rendered("{{ a }} {{ b }} {{ c }}", ["a", "b", "c"], {"a": ""})
    with pytest.raises(Unprocessable, match=r"has no variables named: d\."):
        rendered("{{ a }}", ["a"], {"a": "", "d": ""})
