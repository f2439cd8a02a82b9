"""What a model says when it is asked for a name, and the name in it."""

import pytest

from lightspeed.assistant.topic_name import topic_name


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Cluster nodes", "Cluster nodes"),
        ("  Cluster   nodes.\n\nHere is more about them.", "Cluster nodes"),
        ('"Cluster nodes"', "Cluster nodes"),
        ("\u201cCluster nodes\u201d", "Cluster nodes"),
        ("Topic: Cluster nodes", "Cluster nodes"),
        ("**Title:** *Cluster nodes*", "Cluster nodes"),
        ("# Cluster nodes", "Cluster nodes"),
        ("- `kubectl` and nodes", "kubectl and nodes"),
        ("Topic summary:\nCluster nodes", "Cluster nodes"),
        ("Where is my data kept?", "Where is my data kept?"),
        ('How to "drain" nodes', 'How to "drain" nodes'),
        ('"How to drain nodes', "How to drain nodes"),
        (".NET on Linux", ".NET on Linux"),
        ("Learning C#", "Learning C#"),
        ("```bash\nls\n```", "ls"),
        ("Cluster\tnodes\x07 and\x00 pods", "Cluster nodes and pods"),
        ("<think>The user asks\nabout nodes.</think>\n\nCluster nodes", "Cluster nodes"),
        ("<think>The user asks about", ""),
        ("", ""),
        ('""', ""),
        (" \n\n ", ""),
        ("***", ""),
        ("Knoten im Cluster zählen", "Knoten im Cluster zählen"),
    ],
)
def test_the_name_in_an_answer(said: str, name: str) -> None:
    assert topic_name(said, ended=True) == name


def test_a_long_name_is_cut_between_words() -> None:
    name = topic_name("word " * 100, ended=True)
    assert name is not None
    assert 70 < len(name) <= 80
    assert name.endswith("word")
    assert topic_name("w" * 500, ended=True) == "w" * 80


@pytest.mark.parametrize("said", ["Cluster nodes", "", "\n\n", "Topic:\n", "<think>Well,\nnodes", "<thi"])
def test_more_is_read_while_the_name_may_go_on(said: str) -> None:
    assert topic_name(said, ended=False) is None


@pytest.mark.parametrize(
    "said", ["Cluster nodes\n", "\nCluster nodes\nThey", "<think>x\n</think>\nCluster nodes\n"]
)
def test_no_more_is_read_than_the_first_line(said: str) -> None:
    assert topic_name(said, ended=False) == "Cluster nodes"


def test_a_model_that_rambles_is_not_read_to_its_end() -> None:
    assert topic_name("word " * 41, ended=False)
    assert topic_name("<think>" + "hm " * 2000, ended=False) == ""
