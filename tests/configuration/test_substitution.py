import pickle

import pytest

from lightspeed.configuration.substitution import DecimalNumber, WholeNumber, resolve, substitute
from lightspeed.errors import ConfigurationError

ENVIRONMENT = {
    "WORD": "word",
    "NUMBER": "12",
    "FLAG": "TRUE",
    "EMPTY": "",
    "HERE": "~/data",
    "HOME": "/home/someone",
}


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("${env.WORD}", "word"),
        ("a ${env.WORD} b ${env.NUMBER}", "a word b 12"),
        ("${env.NUMBER}", "12"),
        ("${env.FLAG}", "TRUE"),
        ("${env.WORD:=other}", "word"),
        ("${env.UNSET:=other}", "other"),
        ("${env.EMPTY:=other}", "other"),
        ("${env.UNSET:=}", None),
        ("${env.UNSET:=a:b=c}", "a:b=c"),
        ("x${env.UNSET:=}", "x"),
        ("${env.WORD:+other}", "other"),
        ("${env.UNSET:+other}", None),
        ("${env.EMPTY:+other}", None),
        ("${env.HERE}", "/home/someone/data"),
        ("${env.UNSET:=~}", "/home/someone"),
        ("~/data", "~/data"),
        ("${env.word}", "${env.word}"),
        ("${env.WORD", "${env.WORD"),
        ("$WORD", "$WORD"),
        ("", ""),
        (12, 12),
        (None, None),
    ],
)
def test_a_text(text: object, replaced: object) -> None:
    assert substitute(text, ENVIRONMENT) == replaced


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("${env.NUMBER}", 12),
        ("1${env.NUMBER}", 112),
        ("${env.FLAG}", True),
        ("${env.UNSET:=0.5}", 0.5),
        ("${env.UNSET:=}", None),
        ("${env.WORD}", "word"),
        ("12", "12"),
        ("true", "true"),
    ],
)
def test_retyping(text: str, replaced: object) -> None:
    result = substitute(text, ENVIRONMENT, retype=True)
    assert result == replaced
    assert isinstance(result, type(replaced))
    assert isinstance(result, bool) == isinstance(replaced, bool)


@pytest.mark.parametrize("text", ["0012", "7", "1.50", "1e3", "-2", ".5"])
def test_a_number_remembers_its_text(text: str) -> None:
    number = substitute("${env.N}", {"N": text}, retype=True)
    assert isinstance(number, WholeNumber | DecimalNumber)
    assert float(text) == number
    assert pickle.loads(pickle.dumps(number)).text == number.text == text


@pytest.mark.parametrize("text", ["1_000", "nan", "inf", "0x10", "1.2.3", "٣", "12 "])
def test_what_only_python_reads_as_a_number_stays_text(text: str) -> None:
    assert substitute("${env.N}", {"N": text}, retype=True) == text


@pytest.mark.parametrize(
    "key", ["api_key", "api_token", "password", "token", "client_secret", "apikey", "aws_secret_access_key"]
)
def test_a_secret_stays_as_it_is(key: str) -> None:
    environment = {"PIN": "0012", "TILDE": "~/x", "HOME": "/home/someone"}
    tree = {key: "${env.PIN}", "below": {key: "${env.TILDE}"}}
    assert substitute(tree, environment, retype=True) == {key: "0012", "below": {key: "~/x"}}


def test_a_key_that_only_resembles_a_secret_is_retyped() -> None:
    assert substitute({"max_tokens": "${env.NUMBER}"}, ENVIRONMENT, retype=True) == {"max_tokens": 12}


def test_keys_stay() -> None:
    assert substitute({"${env.WORD}": "${env.WORD}"}, ENVIRONMENT) == {"${env.WORD}": "word"}


def test_the_given_tree_is_not_changed() -> None:
    tree = {"a": ["${env.WORD}"]}
    substitute(tree, ENVIRONMENT)
    assert tree == {"a": ["${env.WORD}"]}


@pytest.mark.parametrize(
    ("tree", "left"),
    [
        (
            [{"provider_id": "__disabled__", "config": "${env.UNSET}"}, {"provider_id": "p"}],
            [{"provider_id": "p"}],
        ),
        ([{"provider_id": "${env.UNSET:=__disabled__}"}], []),
        ([{"provider_id": "${env.WORD:=__disabled__}"}], [{"provider_id": "word"}]),
        ([{"model_id": "${env.UNSET:=}", "provider_model_id": "${env.UNSET}"}], []),
        ([{"vector_store_id": "${env.UNSET:+x}"}, {"shield_id": ""}, {"model_id": None}], []),
        ({"byok_rag": [{"rag_id": "${env.UNSET:=}"}]}, {"byok_rag": []}),
        ({"byok_rag": [{"rag_id": ""}]}, {"byok_rag": [{"rag_id": ""}]}),
        ({"mcp_servers": [{"name": "${env.UNSET:+x}", "url": "${env.UNSET}"}]}, {"mcp_servers": []}),
        ({"limiters": [{"name": "${env.UNSET:+x}"}]}, {"limiters": [{"name": None}]}),
        ({"provider_id": "__disabled__"}, {"provider_id": "__disabled__"}),
        (
            {
                "providers": {
                    "inference": [{"provider_id": "${env.UNSET:+p}", "config": {"url": "${env.UNSET}"}}]
                }
            },
            {"providers": {"inference": []}},
        ),
        ({"models": [{"provider_id": "${env.UNSET:+p}"}]}, {"models": [{"provider_id": None}]}),
    ],
)
def test_entries_that_are_dropped(tree: object, left: object) -> None:
    assert substitute(tree, ENVIRONMENT) == left


def test_an_empty_type_switches_the_authentication_of_the_stack_off() -> None:
    provider = {"type": "${env.UNSET:+oauth2_token}", "jwks": "${env.UNSET}"}
    tree = {"server": {"auth": {"provider_config": provider, "other": "${env.WORD}"}}}
    assert substitute(tree, ENVIRONMENT) == {"server": {"auth": {"provider_config": None, "other": "word"}}}


def test_every_missing_variable_is_told_and_no_value() -> None:
    tree = {
        "llama_stack": {"api_key": "${env.WORD} ${env.FIRST} ${env.SECOND}"},
        "list": [1, {"deep": "${env.FIRST}"}],
        "fine": "${env.WORD}",
    }
    with pytest.raises(ConfigurationError) as caught:
        substitute(tree, ENVIRONMENT)
    assert caught.value.problems == [
        "llama_stack.api_key: the environment variable FIRST is not set or empty",
        "llama_stack.api_key: the environment variable SECOND is not set or empty",
        "list[1].deep: the environment variable FIRST is not set or empty",
    ]


def test_resolve_tells_which_entries_are_left() -> None:
    result = resolve({"a": [{"model_id": ""}, {"model_id": "m", "x": "${env.UNSET}"}]}, {})
    assert result.tree == {"a": [{"model_id": "m", "x": "${env.UNSET}"}]}
    assert result.kept == {("a",): (1,)}
    assert result.missing == {("a", 1, "x"): ("UNSET",)}
