"""JSON, JSON lines and YAML: keys as headings, values as written, and nothing without end."""

import json

import pytest

from lightspeed.documents.document import Document, DocumentError, EmptyDocument, parse_document

LONG = "A sentence that says what this setting does and when it has to be changed. " * 5


def document(data: str | bytes, name: str) -> Document:
    return parse_document(data.encode() if isinstance(data, str) else data, name=name)


def sections(data: str | bytes, name: str) -> list[tuple[tuple[str, ...], str]]:
    return [(section.heading_trail, section.text) for section in document(data, name).sections]


def text(data: str | bytes, name: str) -> str:
    return "\n\n".join(body for _, body in sections(data, name))


def test_large_parts_have_headings_and_small_ones_lines() -> None:
    data = {
        "title": "Widget",
        "url": "https://docs.example.com/widget",
        "version": 1.10,
        "tags": ["a", "b"],
        "limits": {"cpu": 2, "on": True, "none": None},
        "services": [{"name": "web", "text": LONG, "port": 80}, {"name": "db", "text": LONG}],
    }
    source = json.dumps(data).replace("1.1", "1.10")
    found = document(source, "x.json")
    assert (found.title, found.url) == ("Widget", "https://docs.example.com/widget")
    assert sections(source, "x.json") == [
        (
            (),
            "title: Widget\nurl: https://docs.example.com/widget\nversion: 1.10\ntags: a, b\n"
            "limits:\n  cpu: 2\n  on: true\n  none:",
        ),
        (("services", "web"), f"name: web\n\ntext:\n\n{LONG.strip()}\n\nport: 80"),
        (("services", "db"), f"name: db\n\ntext:\n\n{LONG.strip()}"),
    ]


def test_yaml_reads_as_it_is_written() -> None:
    source = (
        "# comment\nversion: 1.10\nswitch: on\ndate: 2024-01-01\nnothing: ~\nname: !Ref web\n"
        "base: &base {retries: 3}\nprod:\n  <<: *base\n  hosts: [a, b]\nnotes: |\n  First.\n\n  Second.\n"
    )
    assert text(source, "x.yaml") == (
        "version: 1.10\nswitch: on\ndate: 2024-01-01\nnothing:\nname: web\nbase:\n  retries: 3\n"
        "prod:\n  retries: 3\n  hosts: a, b\n\nnotes:\n\nFirst.\n\nSecond."
    )


def test_each_document_of_a_yaml_stream_is_a_section() -> None:
    assert sections("a: 1\n---\nname: Second\nb: 2\n---\n- x\n- y\n", "x.yml") == [
        (("item 1",), "a: 1"),
        (("Second",), "name: Second\nb: 2"),
        (("item 3",), "- x\n- y"),
    ]


def test_each_json_line_is_a_section() -> None:
    lines = '{"id": "q1", "text": "One."}\n\n{"text": "Two."}\n'
    expected = [(("q1",), "id: q1\ntext: One."), (("item 2",), "text: Two.")]
    assert sections(lines, "x.jsonl") == expected
    assert sections(lines, "x.json") == expected


def test_plain_values_lists_and_odd_keys() -> None:
    assert text('"just text"', "x.json") == "just text"
    assert text('["a", "b"]', "x.json") == "- a\n- b"
    assert text('{"a": 1, "a": 2, "": 3}', "x.json") == "a: 1\na: 2\n: 3"
    assert text("? [x, y]\n: z\n", "x.yaml") == "?: z"
    assert text(b'{"a": "\\ud800x"}', "x.json") == "a: ?x"
    assert text('{"a": "ü"}'.encode("utf-16"), "x.json") == "a: ü"
    assert text("1" * 10_000, "x.json") == "1" * 10_000


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("", "x.json"),
        ("null", "x.json"),
        ("{}", "x.json"),
        ("[]", "x.yaml"),
        ("~", "x.yaml"),
        ("# c\n", "x.yaml"),
    ],
)
def test_empty_data(data: str, name: str) -> None:
    with pytest.raises(EmptyDocument):
        document(data, name)


@pytest.mark.parametrize(
    ("data", "name", "cause"),
    [
        (b'{"a": 1,}', "x.json", "broken JSON: .* in line 1"),
        (b'{"a": 1}\n{b}', "x.jsonl", "broken JSON: .* in line 2"),
        (b"a: [1\nb: 2", "x.yaml", "broken YAML: .* in line 2"),
        (b"a: {{ x }}: y", "x.yaml", "broken YAML"),
        (b"a: \x1b", "x.yaml", "characters that YAML does not allow"),
        (b"a: \x00", "x.yaml", "binary"),
        (b"\x00", "x.json", "binary"),
        (b"[" * 100_000, "x.json", "nested more than 100"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "x.json", "nested more than 100"),
        (b"[" * 100_000, "x.yaml", "nested more than 100"),
        (b"- " * 5000, "x.yaml", "nested more than 100"),
    ],
)
def test_broken_data_is_named(data: bytes, name: str, cause: str) -> None:
    with pytest.raises(DocumentError, match=cause) as caught:
        document(data, name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "a0: &a0 [word]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
        "a0: &a0 {k: v}\n"
        + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
        "a: &a " + "x" * 100_000 + "\nb: [" + "*a, " * 50_000 + "]",
    ],
)
def test_references_cannot_grow_without_end(source: str) -> None:
    with pytest.raises(DocumentError, match="too much text"):
        document(source, "x.yaml")


def test_a_long_chain_of_references_is_too_deep() -> None:
    source = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200))
    with pytest.raises(DocumentError, match="nested more than 100"):
        document(source, "x.yaml")


def test_a_reference_to_itself_is_text() -> None:
    assert text("a: &a [*a, x]\nb: *missing", "x.yaml") == "a: *a, x\nb: *missing"
