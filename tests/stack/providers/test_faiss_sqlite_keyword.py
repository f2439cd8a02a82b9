from collections.abc import Iterator
from pathlib import Path

import pytest

from lightspeed.stack.providers.faiss_sqlite import keyword
from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore
from lightspeed.stack.providers.faiss_sqlite.terms import query_terms
from tests.stack.providers.faiss_sqlite_data import chunk, names, unit

TEXTS = {
    "install": "How to install the operator from the console.",
    "upgrade": "Upgrading a cluster: drain every node, then upgrade it.",
    "error": 'oc: error CrashLoopBackOff near "spec.replicas" (code=42) NOT FOUND',
    "german": "Wie man das Kennwort zurücksetzt: Größe und Maß prüfen.",
    "japanese": "クラスタにノードを追加する方法について説明します。",
    "chinese": "如何将节点添加到集群中",
    "korean": "클러스터에 노드를 추가하는 방법",
    "thai": "วิธีเพิ่มโหนดลงในคลัสเตอร์",
    "hindi": "क्लस्टर में नोड कैसे जोड़ें हिन्दी",
    "arabic": "كيفية إضافة عقدة إلى المجموعة",
    "russian": "Обновить кластер и узлы",
    "emoji": "All systems 🚀 go",
    "snake": "Set max_surge_percent in config.yaml",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChunkStore]:
    store = ChunkStore(tmp_path_factory.mktemp("keyword") / "kb", 2)
    store.insert([chunk(name, text) for name, text in TEXTS.items()], [unit(1, 0)] * len(TEXTS))
    yield store
    store.close()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("install operator", ["install"]),
        ("How do I install the operator?", ["install"]),
        ("INSTALLING OPERATORS", ["install"]),
        ("crashloopbackoff", ["error"]),
        ("spec.replicas", ["error"]),
        ("max_surge_percent", ["snake"]),
        ("config.yaml", ["snake"]),
        ("Kennwort zurucksetzt", ["german"]),
        ("ku\u0308hl GRÖSSE Maß", ["german"]),
        ("ノードの追加", ["japanese"]),
        ("節点 集群", ["chinese"]),
        ("节", ["chinese"]),
        ("노드를", ["korean"]),
        ("เพิ่มโหนด", ["thai"]),
        ("हिन्दी", ["hindi"]),
        ("المجموعة", ["arabic"]),
        ("и", ["russian"]),
        ("к", []),
        ("ü", []),
        ("\uff43\uff4f\uff4e\uff53\uff4f\uff4c\uff45", ["install"]),  # full-width letters
        ("the", ["install"]),
        ("nothing of this kind", []),
    ],
)
def test_words_of_any_language_are_found(store: ChunkStore, query: str, expected: list[str]) -> None:
    assert names(store.search_keyword(query, 10)) == expected


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   \n\t",
        '"',
        '"install',
        'install"',
        '""""',
        "install AND",
        "NOT install",
        "install NEAR operator",
        "NEAR(install operator, 2)",
        "install*",
        "*",
        "^install",
        "content:install",
        "{content}:install",
        "-install",
        "+install",
        "(install",
        "install)",
        "install OR OR",
        "'; DROP TABLE chunks; --",
        "\x00",
        "install\x00operator",
        "\ud800",
        "🚀",
        "💥💥💥",
        "a\u0301\u0302",
        "%s %d \\ / | ~ ` @",
        "-rank",
        "terms MATCH 'x'",
        "install " * 20_000,
        " ".join(f"word{number}" for number in range(20_000)),
        "の" * 50_000,
    ],
)
def test_nothing_in_a_question_is_syntax(store: ChunkStore, query: str) -> None:
    found = store.search_keyword(query, 3)
    assert all(0 <= one.score <= 1 for one in found)
    assert len(store.search_hybrid(query, unit(1, 0), 3)) == 3
    if "install" in query and "DROP" not in query:
        assert "install" in names(found)


def test_what_holds_more_of_the_words_comes_first(store: ChunkStore) -> None:
    found = store.search_keyword("upgrade cluster node install", 10)
    assert names(found)[:2] == ["upgrade", "install"]
    assert 1 > found[0].score > found[1].score > 0
    assert names(store.search_keyword("upgrade cluster node install", 1)) == ["upgrade"]
    threshold = found[0].score
    kept = store.search_keyword("upgrade cluster node install", 10, score_threshold=threshold)
    assert names(kept) == ["upgrade"]


def test_stop_words_count_only_where_there_are_no_others() -> None:
    assert query_terms("How do I do this?") == ["how", "do", "i", "this"]
    assert query_terms("How do I install this, and this?") == ["install"]


def test_common_words_do_not_choose_but_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyword, "_CHOSEN_CHUNKS", 12)
    monkeypatch.setattr(keyword, "_WEIGHED_CHUNKS", 60)
    store = ChunkStore(tmp_path / "kb", 2)
    contents = [
        f"cluster {'rare' if n < 10 else 'plain'} {'storage' if n % 2 else 'network'}" for n in range(100)
    ]
    store.insert([chunk(f"{n}", text) for n, text in enumerate(contents)], [unit(1, 0)] * 100)
    found = names(store.search_keyword("rare storage cluster", 100))
    assert sorted(found) == [str(n) for n in range(10)]
    assert sorted(found[:5]) == ["1", "3", "5", "7", "9"]
    assert len(store.search_keyword("cluster", 200)) == 100
    store.close()


def test_frequencies_are_counted_again_when_a_store_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyword, "_CHOSEN_CHUNKS", 5)
    monkeypatch.setattr(keyword, "_WEIGHED_CHUNKS", 0)
    store = ChunkStore(tmp_path / "kb", 2)
    store.insert([chunk("a", "first"), chunk("b", "second")], [unit(1, 0)] * 2)
    assert sorted(names(store.search_keyword("first second", 50))) == ["a", "b"]
    store.insert([chunk(f"{n}", "first") for n in range(20)], [unit(1, 0)] * 20)
    assert names(store.search_keyword("first second", 50)) == ["b"]
    store.close()


def test_a_word_is_found_as_soon_as_a_chunk_has_it(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path / "kb", 2)
    store.insert([chunk(f"{n}", "filler") for n in range(100)], [unit(1, 0)] * 100)
    assert store.search_keyword("zebra", 5) == []
    store.insert([chunk("striped", "a zebra")], [unit(1, 0)])
    assert names(store.search_keyword("zebra", 5)) == ["striped"]
    store.delete_chunks(["striped"])
    store.insert([chunk("again", "the zebra")], [unit(1, 0)])
    assert names(store.search_hybrid("zebra", unit(0, 1), 1)) == ["again"]
    store.close()


def test_rare_words_that_a_filter_leaves_out_do_not_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyword, "_CHOSEN_CHUNKS", 12)
    store = ChunkStore(tmp_path / "kb", 2)
    contents = [f"cluster {'rare' if n < 10 else 'plain'}" for n in range(100)]
    chunks = [chunk(f"{n}", text, number=n) for n, text in enumerate(contents)]
    store.insert(chunks, [unit(1, 0)] * 100)
    last = {"type": "gte", "key": "number", "value": 97}
    assert sorted(names(store.search_keyword("rare cluster", 10, filters=last))) == ["97", "98", "99"]
    assert len(store.search_keyword("rare cluster", 100)) == 10
    store.close()
