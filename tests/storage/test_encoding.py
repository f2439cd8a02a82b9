import json

from lightspeed.storage.encoding import json_bytes, json_text, storable_text


def test_text_that_databases_refuse_is_replaced() -> None:
    assert storable_text("a\x00b\ud800c é \U0001f600\n") == "a\ufffdb\ufffdc é \U0001f600\n"


def test_json_keeps_the_order_of_keys_and_all_characters() -> None:
    assert json_bytes({"b": 1, "a": ["é"]}) == '{"b":1,"a":["é"]}'.encode()
    assert json.loads(json_text({"a": "\x00"})) == {"a": "\x00"}


def test_json_is_strict() -> None:
    assert json_text([float("nan"), float("inf"), 1.5]) == "[null,null,1.5]"


def test_odd_values_do_not_fail() -> None:
    value = {"\ud800": ["\udfff", float("nan")], "bytes": b"\xff", "other": object}
    assert json.loads(json_bytes(value)) == {
        "\ufffd": ["\ufffd", None],
        "bytes": "_w==",
        "other": "<class 'object'>",
    }
