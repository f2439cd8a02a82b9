import re

from hypothesis import given
from hypothesis import strategies as st

from lightspeed.tools.mcp.naming import model_names

PAIRS = st.lists(st.tuples(st.text(max_size=80), st.text(max_size=80)), unique=True, max_size=12)


def test_a_tool_keeps_its_name() -> None:
    assert model_names([("a", "search"), ("b", "list-nodes")]) == ["search", "list-nodes"]


def test_tools_of_the_same_name_are_named_after_their_servers() -> None:
    assert model_names([("a", "search"), ("b", "search"), ("b", "x")]) == ["a__search", "b__search", "x"]


def test_a_reserved_name_is_left_alone() -> None:
    assert model_names([("a", "file_search")], ["file_search"]) == ["a__file_search"]


def test_a_name_that_providers_refuse_is_spelled_otherwise() -> None:
    assert model_names([("my server", "disk.free/all")]) == ["my_server__disk_free_all"]


def test_names_that_would_be_spelled_alike_are_told_apart() -> None:
    first, second = model_names([("a", "x.y"), ("a", "x/y")])
    assert first != second
    assert first.startswith("a__x_y_")


def test_a_long_name_is_cut() -> None:
    [name] = model_names([("a", "n" * 70)])
    assert len(name) == 64


@given(PAIRS, st.frozensets(st.text(max_size=5)))
def test_names_are_unique_and_valid(pairs: list[tuple[str, str]], reserved: frozenset[str]) -> None:
    names = model_names(pairs, reserved)
    assert len(set(names)) == len(pairs)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names)
    assert not reserved & set(names)


@given(PAIRS)
def test_names_do_not_depend_on_the_order(pairs: list[tuple[str, str]]) -> None:
    forwards = dict(zip(pairs, model_names(pairs), strict=True))
    backwards = dict(zip(pairs[::-1], model_names(pairs[::-1]), strict=True))
    assert forwards == backwards
