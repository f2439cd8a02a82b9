"""The server that stands for Solr in tests keeps Lucene's rules, and runs as a process."""

import subprocess
import sys

import httpx
import pytest

from tests.solr_server.lucene import LuceneSyntaxError, parse

FIELDS = frozenset({"a", "b", "chunk"})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("a:1", "xy"),
        ("a:1 AND b:1", "x"),
        ("a:1 AND b:1 OR b:2", "x"),  # what stands after OR is a wish
        ("a:1 AND (b:1 OR b:2)", "xy"),
        ("-a:1", "z"),
        ("(-a:1)", ""),
        ("(*:* -a:1)", "z"),
        ("a:1 NOT b:2", "x"),
        ("b:[1 TO 2}", "x"),
        ("b:{1 TO *]", "yz"),
        ('b:["1" TO "2"]', "xy"),
        ("a:(1 2)", "xyz"),
        ("chunk:node", "yz"),
        ('chunk:"the node"', "y"),
        ("chunk:no*", "z"),
    ],
)
def test_lucene(query: str, found: str) -> None:
    documents = {
        "x": {"a": "1", "b": 1},
        "y": {"a": "1", "b": 2, "chunk": "The Node"},
        "z": {"a": "2", "b": 3, "chunk": "node"},
    }
    matches = parse(query, FIELDS)
    assert "".join(name for name, document in documents.items() if matches(document)) == found


@pytest.mark.parametrize(
    "query", ["", "a:", "(a:1", "a:1)", 'a:"1', "{!func}1", "nofield", "c:1", "a:[1 TO", "AND"]
)
def test_what_lucene_refuses(query: str) -> None:
    with pytest.raises(LuceneSyntaxError):
        parse(query, FIELDS)


def test_as_a_process() -> None:
    command = [sys.executable, "-m", "tests.solr_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            url = f"{address}/solr/portal-rag/select"
            answer = httpx.post(url, data={"q": "is_chunk:false", "fl": "id"}).json()
        finally:
            process.terminate()
    assert [document["id"] for document in answer["response"]["docs"]] == [
        "etcd-backup",
        "node-drain",
        "selinux",
    ]
