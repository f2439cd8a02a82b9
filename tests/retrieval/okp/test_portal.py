"""Searching the portal over HTTP."""

import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from lightspeed.configuration.rag import OkpConfiguration
from lightspeed.errors import BadRequest, Unavailable
from lightspeed.retrieval.okp.passage import bounded_score
from lightspeed.retrieval.okp.portal import KnowledgePortal, PortalHealth
from lightspeed.retrieval.okp.request import PortalQuery
from lightspeed.retrieval.okp.settings import PortalSettings
from tests.scripted_model.embedding import embed as words_vector
from tests.solr_server import SolrServer, Trouble, article

pytestmark = pytest.mark.anyio

SNAPSHOT = "How do I take a snapshot of etcd?"


async def embed(text: str) -> Sequence[float]:
    return words_vector(text, 384)


@pytest.fixture
def solr() -> Iterator[SolrServer]:
    with SolrServer() as server:
        yield server


def settings_for(server: SolrServer, **okp: Any) -> PortalSettings:
    okp = {"rhokp_url": server.base_url, **okp}
    return PortalSettings.read(OkpConfiguration.model_validate(okp), {})


@asynccontextmanager
async def opened(
    server: SolrServer, *, embedding: Any = embed, changes: dict[str, Any] | None = None, **okp: Any
) -> AsyncIterator[KnowledgePortal]:
    settings = replace(settings_for(server, **okp), **(changes or {}))
    portal = await KnowledgePortal.open(settings, embedding)
    try:
        yield portal
    finally:
        await portal.close()


async def test_a_hybrid_search(solr: SolrServer) -> None:
    async with opened(solr) as portal:
        found = await portal.search(SNAPSHOT)
    best = found[0]
    assert "Run the backup script" in best.content
    assert best.metadata == {
        "document_id": "doc-etcd-backup",
        "doc_id": "doc-etcd-backup",
        "chunk_id": "etcd-backup_chunk_1",
        "chunk_index": 1,
        "chunks": 4,
        "title": "Backing up etcd",
        "doc_url": f"{solr.base_url}/documentation/etcd-backup/index.html",
        "reference_url": f"{solr.base_url}/documentation/etcd-backup/index.html",
        "source": "okp",
    }
    assert [passage.rank for passage in found] == list(range(1, len(found) + 1))
    scores = [passage.solr_score for passage in found]
    assert scores == sorted(scores, reverse=True)
    assert all(passage.score == bounded_score(passage.solr_score, "hybrid") for passage in found)
    assert all(0 < passage.score < 1 for passage in found)


async def test_what_a_hybrid_search_sends(solr: SolrServer) -> None:
    async with opened(solr, chunk_filter_query="product:open*") as portal:
        await portal.search(
            SNAPSHOT, PortalQuery(solr={"fq": ["-version:3.11"], "bq": "title:etcd^2"}), limit=3
        )
    sent = solr.received("hybrid-search")[0].parameters
    assert sent["q"] == ["How do I take a snapshot of etcd"]
    assert sent["rq"] == ["{!rerank reRankQuery=$rqq reRankDocs=100 reRankWeight=8}"]
    assert sent["rqq"][0].startswith("{!knn f=chunk_vector topK=100}[")
    assert len(sent["rqq"][0].split(",")) == 384
    assert sent["fq"] == ["is_chunk:true AND product:open*", "-version:3.11"]
    assert sent["bq"] == ["title:etcd^2"]
    assert sent["wt"] == ["json"]
    assert "chunk_vector" not in sent["fl"][0]
    assert "score" in sent["fl"][0].split(",")


async def test_meaning_lifts_what_words_alone_put_lower() -> None:
    """The first has the words more often, the second is about nothing else."""
    texts = [f"drain node drain node {' '.join(f'other{number}' for number in range(40))}", "drain node"]
    documents = [part for index, text in enumerate(texts) for part in article(f"a{index}", "Title", [text])]
    with SolrServer(documents) as solr:
        async with opened(solr) as portal:
            lexical = await portal.search("drain node", PortalQuery("lexical"))
            hybrid = await portal.search("drain node")
    assert [passage.content for passage in lexical] == texts
    assert [passage.content for passage in hybrid] == texts[::-1]
    assert "rq" not in solr.received("hybrid-search")[0].parameters


async def test_a_semantic_search(solr: SolrServer) -> None:
    question = "Drain the node so that its pods move to other nodes."
    async with opened(solr) as portal:
        found = await portal.search(question, PortalQuery("semantic"), limit=2)
    assert found[0].content == question
    assert found[0].metadata["title"] == "Draining a node"
    assert found[0].metadata["doc_url"].endswith("/documentation/node-drain/index.html")
    assert found[0].score == pytest.approx(1.0, abs=1e-6)
    assert len(found) == 2
    sent = solr.received("semantic-search")[0].parameters
    assert sent["rows"] == ["2"]
    assert sent["q"][0].startswith("{!knn f=chunk_vector topK=2}[")
    assert not solr.received("hybrid-search")


async def test_filters_decide_what_is_found(solr: SolrServer) -> None:
    def versions(*values: str) -> dict[str, Any]:
        return {"type": "in", "key": "version", "value": values}

    async with opened(solr) as portal:
        for mode in ("hybrid", "lexical", "semantic"):
            found = await portal.search("the node of etcd", PortalQuery(mode, versions("4.14")))
            assert {passage.metadata["title"] for passage in found} == {"Draining a node"}, mode
            injected = versions('4.14" OR version:"4.16', "*:*", "{!func}1", '\\" OR *:* OR \\"')
            assert await portal.search("the node of etcd", PortalQuery(mode, injected)) == []
        both = await portal.search("the node of etcd", PortalQuery(filters=versions("4.14", "4.16")))
        assert len({passage.metadata["document_id"] for passage in both}) == 2
        narrowed = await portal.search(
            "the node of etcd", PortalQuery(filters=versions("4.14", "4.16"), solr={"fq": "product:rhel"})
        )
        assert narrowed == []


async def test_the_configured_filter_always_holds(solr: SolrServer) -> None:
    async with opened(solr, chunk_filter_query="version:4.14 OR version:9") as portal:
        found = await portal.search("the node of etcd SELinux")
        anything = await portal.search("the node of etcd SELinux", PortalQuery(solr={"fq": "version:4.16"}))
    assert {passage.metadata["title"] for passage in found} == {"Draining a node", "Changing SELinux modes"}
    assert anything == []


@pytest.mark.parametrize(
    "question",
    [
        "{!func}1",
        'etcd" AND (*:*',
        "etcd AND NOT -snapshot +(",
        "_query_:x etcd: [a TO b] ~ ^ \\ && || /x/",
        "etcd " * 5000,
    ],
)
async def test_a_question_is_words_and_nothing_else(solr: SolrServer, question: str) -> None:
    async with opened(solr) as portal:
        found = await portal.search(question)
    sent = solr.received("hybrid-search")[0].parameters["q"][0]
    assert not sent.startswith("{!")
    assert len(sent.split()) <= 256
    assert bool(found) == ("etcd" in question)


@pytest.mark.parametrize("question", ["", "  \n", "?!", "***"])
async def test_without_words_nothing_is_asked(solr: SolrServer, question: str) -> None:
    async with opened(solr) as portal:
        assert await portal.search(question) == []
        assert await portal.search(SNAPSHOT, limit=0) == []
    assert solr.requests == []


async def test_the_threshold_is_on_solr_scores(solr: SolrServer) -> None:
    async with opened(solr) as portal:
        everything = await portal.search(SNAPSHOT, PortalQuery("semantic"), limit=9, score_threshold=0.0)
        line = everything[2].solr_score
        above = await portal.search(SNAPSHOT, PortalQuery("semantic"), limit=9, score_threshold=line)
    assert len(everything) == 9
    assert [passage.solr_score for passage in above] == [
        p.solr_score for p in everything if p.solr_score >= line
    ]


async def test_bounded_scores_keep_the_order() -> None:
    assert bounded_score(10, "hybrid") == 0.5
    assert bounded_score(30, "lexical") == 0.75
    assert bounded_score(0.8, "semantic") == 0.8
    assert bounded_score(-1, "hybrid") == 0.0
    assert bounded_score(1.0000001, "semantic") == 1.0
    assert bounded_score(1e300, "hybrid") <= 1.0


async def test_neighbours_come_from_one_more_request_and_stay_in_order(solr: SolrServer) -> None:
    async with opened(solr) as portal:
        found = await portal.search("scheduled pods move node drain maintenance")
    assert found[0].content.split("\n\n") == [
        "Mark the node as unschedulable before maintenance.",
        "Drain the node so that its pods move to other nodes.",
        "When the node is back mark it as schedulable.",
    ]
    titles = [passage.metadata["title"] for passage in found]
    assert len(titles) == len(set(titles)), "one passage for each of these short documents"
    assert len(solr.received("select")) == 1


async def test_a_long_document_gives_windows_that_do_not_overlap() -> None:
    chunks = [("Part", f"unique{index} filler text") for index in range(40)]
    chunks[5] = ("Part", "zebra unique5")
    chunks[30] = ("Other", "zebra stripes unique30")
    chunks[31] = ("Other", "zebra unique31")
    chunks[32] = ("Other", "unique32")
    with SolrServer(article("long", "Long", chunks, tokens=700)) as solr:
        async with opened(solr) as portal:
            found = await portal.search("zebra", PortalQuery("lexical"))
    texts = [passage.content for passage in found]
    assert sorted(len(text.split("\n\n")) for text in texts) == [3, 4]  # 3072 // 700, and all of Other
    other = next(text for text in texts if "unique31" in text)
    assert [text.split()[-1] for text in other.split("\n\n")] == ["unique30", "unique31", "unique32"]
    assert len(" ".join(texts).split("unique5 ")) <= 2


async def test_the_static_filter_holds_for_neighbours() -> None:
    documents = article("doc", "Title", ["zebra one", "hidden two", "three"])
    documents[2]["product"] = "hidden"
    documents[1]["product"] = documents[3]["product"] = "shown"
    with SolrServer(documents) as solr:
        async with opened(solr, chunk_filter_query="-product:hidden") as portal:
            found = await portal.search("zebra")
    assert [passage.content for passage in found] == ["zebra one"]


async def test_links_outside_the_portal(solr: SolrServer) -> None:
    async with opened(solr, offline=False) as portal:
        found = await portal.search(SNAPSHOT)
    assert found[0].metadata["doc_url"] == "https://docs.example.com/etcd-backup"
    assert found[0].metadata["reference_url"] == "https://docs.example.com/etcd-backup"


@pytest.mark.parametrize("trouble", [Trouble(500), Trouble.hang()])
async def test_without_the_context_what_was_found_is_given_alone(
    solr: SolrServer, caplog: pytest.LogCaptureFixture, trouble: Trouble
) -> None:
    solr.troubles["select"] = trouble
    async with opened(solr, changes={"timeout": 2.0}) as portal:
        found = await portal.search(SNAPSHOT)
    assert found[0].content == "Run the backup script on one control plane node to take a snapshot of etcd."
    assert found[0].metadata["doc_url"] == f"{solr.base_url}/etcd-backup"
    assert "without its context" in caplog.text


async def test_without_an_embedding_model_words_decide_and_it_is_said_once(
    solr: SolrServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(solr, embedding=None) as portal:
        assert (await portal.search(SNAPSHOT))[0].metadata["title"] == "Backing up etcd"
        await portal.search(SNAPSHOT)
        with pytest.raises(Unavailable) as error:
            await portal.search(SNAPSHOT, PortalQuery("semantic"))
        await portal.search(SNAPSHOT, PortalQuery("lexical"))
    assert "there is no embedding model" in error.value.cause
    assert "granite-embedding-30m-english" in error.value.cause
    assert all("rq" not in request.parameters for request in solr.received("hybrid-search"))
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "searched by words only" in warnings[0].getMessage()


async def test_a_vector_of_another_length_is_told_with_what_to_set(solr: SolrServer) -> None:
    async def short(text: str) -> Sequence[float]:
        return words_vector(text, 128)

    async with opened(solr, embedding=short) as portal:
        assert await portal.search(SNAPSHOT), "hybrid goes on with words"
        with pytest.raises(
            Unavailable, match="128 numbers where the portal has 384; set SOLR_EMBEDDING_MODEL"
        ):
            await portal.search(SNAPSHOT, PortalQuery("semantic"))


async def test_an_embedding_model_that_fails(solr: SolrServer) -> None:
    async def failing(text: str) -> Sequence[float]:
        raise RuntimeError("secret detail")

    async def not_finite(text: str) -> Sequence[float]:
        return [float("nan")] * 384

    for embedding, cause in ((failing, "failed (RuntimeError)"), (not_finite, "not finite")):
        async with opened(solr, embedding=embedding) as portal:
            assert await portal.search(SNAPSHOT)
            with pytest.raises(Unavailable) as error:
                await portal.search(SNAPSHOT, PortalQuery("semantic"))
        assert cause in error.value.cause
        assert "secret detail" not in error.value.cause


@pytest.mark.parametrize(
    ("trouble", "cause"),
    [
        (Trouble(500, b"java.lang.NullPointerException"), "answered with status 500"),
        (Trouble(503), "answered with status 503"),
        (Trouble(302), "answered with status 302"),
        (Trouble(403), "refused the credentials of `okp.rhokp_url` (status 403)"),
        (Trouble(404), "has no 'portal-rag/hybrid-search' (status 404)"),
        (Trouble.garbage(), "is not a search result of Solr"),
        (Trouble.garbage(b"\xff\xfe{}"), "is not a search result of Solr"),
        (Trouble.garbage(b"{}"), "is not a search result of Solr"),
        (Trouble.garbage(b'{"response": {"docs": ["x"]}}'), "is not a search result of Solr"),
        (Trouble.garbage(b'{"response": []}'), "is not a search result of Solr"),
        (Trouble.garbage(b'{"response":{"docs":' + b"[" * 9000), "is not a search result of Solr"),
        (Trouble.garbage(b" " * (17 << 20)), "answered with more than 16 MiB"),
        (Trouble.hang(), "did not answer within 0.3 seconds"),
    ],
)
async def test_a_portal_in_trouble(solr: SolrServer, trouble: Trouble, cause: str) -> None:
    solr.troubles["*"] = trouble
    async with opened(solr, changes={"timeout": 0.3}) as portal:
        with pytest.raises(Unavailable) as error:
            await portal.search(SNAPSHOT)
        health = await portal.health()
    assert cause in error.value.cause
    assert solr.base_url in error.value.cause
    assert error.value.response == "Unable to search the Offline Knowledge Portal"
    assert not health.ok
    assert health.message


async def test_a_probe_does_not_wait_for_a_portal_that_hangs(solr: SolrServer) -> None:
    solr.troubles["*"] = Trouble.hang()
    async with opened(solr) as portal:
        health = await portal.health()
        assert not health.ok
        assert "did not answer a probe within 0.7 seconds" in (health.message or "")
        solr.troubles.clear()
        assert (await portal.health()).ok


async def test_a_portal_that_is_not_there_and_comes_back() -> None:
    solr = SolrServer()
    with solr:
        pass
    async with opened(solr) as portal:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await portal.search(SNAPSHOT)
        with solr:
            assert await portal.search(SNAPSHOT)
            assert await portal.health() == PortalHealth(ok=True)


async def test_credentials_are_sent_and_never_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with SolrServer(credentials=("reader", "s3cret")) as solr:
        address = solr.base_url.replace("http://", "http://reader:s3cret@")
        async with opened(solr, rhokp_url=address) as portal:
            found = await portal.search(SNAPSHOT)
            assert solr.requests[0].user == "reader"
            solr.troubles["*"] = Trouble(500)
            with pytest.raises(Unavailable) as error:
                await portal.search(SNAPSHOT)
        async with opened(solr, rhokp_url=address.replace("s3cret", "wr0ng")) as portal:
            with pytest.raises(Unavailable, match="refused the credentials") as refused:
                await portal.search(SNAPSHOT)
    told = caplog.text + str(error.value) + str(refused.value) + json.dumps([dict(p.metadata) for p in found])
    assert "s3cret" not in told
    assert "wr0ng" not in told


async def test_what_solr_says_of_a_wrong_query_reaches_the_sender(solr: SolrServer) -> None:
    async with opened(solr) as portal:
        with pytest.raises(BadRequest, match="undefined field colour"):
            await portal.search(SNAPSHOT, PortalQuery(solr={"fq": "colour:blue"}))
        with pytest.raises(BadRequest, match="Cannot parse"):
            await portal.search(SNAPSHOT, PortalQuery(solr={"fq": "version:("}))


async def test_refused_parameters_are_not_sent(solr: SolrServer) -> None:
    async with opened(solr) as portal:
        for options in (PortalQuery(solr={"shards": "x"}), PortalQuery(filters={"type": "near"})):
            with pytest.raises(BadRequest):
                await portal.search(SNAPSHOT, options)
    assert solr.requests == []


async def test_documents_that_lack_something_are_left_out(
    solr: SolrServer, caplog: pytest.LogCaptureFixture
) -> None:
    good = {
        "is_chunk": [True],
        "id": "g",
        "chunk": ["first", "second"],
        "score": 2,
        "title": ["A title"],
        "chunk_index": "3",
    }
    documents = [
        good,
        {"chunk": "no id", "score": 2},
        {"id": "n", "score": 2},
        {"id": "m", "chunk": "score", "score": "NaN"},
        {"id": "p", "chunk": "not a chunk", "score": 2, "is_chunk": False},
        {"id": "w", "chunk": "weak", "score": 0.1},
    ]
    body = json.dumps({"response": {"docs": documents}}).encode()
    solr.troubles["hybrid-search"] = Trouble.garbage(body)
    async with opened(solr) as portal:
        found = await portal.search(SNAPSHOT)
    assert [passage.content for passage in found] == ["first\nsecond"]
    assert found[0].metadata["title"] == "A title"
    assert found[0].metadata["chunk_index"] == 3
    assert found[0].metadata["document_id"] == "g"
    assert sum("is left out" in record.getMessage() for record in caplog.records) == 3


async def test_searches_at_once_share_few_connections(solr: SolrServer) -> None:
    async with opened(solr) as portal:
        for _ in range(5):
            await portal.search(SNAPSHOT)
        assert len({request.connection for request in solr.requests}) == 1
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(portal.search, SNAPSHOT)
    assert len(solr.requests) == 50


async def test_a_connection_that_the_portal_closed_is_opened_again() -> None:
    """The server takes the second request on a kept connection and hangs up instead of answering."""
    body = b'{"response": {"docs": []}}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    served: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for number in range(2):
            connection, _ = listener.accept()
            with connection:
                for _ in range(2 if number == 0 else 1):
                    request = connection.recv(65536)
                    while b"\r\n\r\n" not in request or not request.endswith(b"rows=0"):
                        request += connection.recv(65536)
                    served.append(number)
                    if len(served) == 2:
                        break
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    settings = PortalSettings(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}")
    portal = await KnowledgePortal.open(settings)
    with listener:
        assert await portal.health() == PortalHealth(ok=True)
        assert await portal.health() == PortalHealth(ok=True)
    await portal.close()
    assert served == [0, 0, 1]
