"""How often and how much at once: what comes above the limits of the configuration is answered early."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.conftest import Service, running
from tests.api.test_streaming_query import interrupt, streaming
from tests.scripted_model import Reply, ScriptedModel

pytestmark = pytest.mark.anyio


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[Service]:
    """Three questions at once, two of each user."""
    limits = {"max_concurrent_turns": 3, "max_concurrent_turns_per_user": 2}
    with ScriptedModel() as model:
        async with running(tmp_path, model, service={"limits": limits}) as service:
            yield service


async def test_questions_at_once(busy: Service) -> None:
    busy.model.when(lambda request: "Wait" in str(request["messages"][-1]), Reply("one two", hang_at=1))
    busy.model.default(Reply("At once."))
    async with (
        streaming(busy, "ann", query="Wait 1.") as first,
        streaming(busy, "ann", query="Wait 2.") as second,
    ):
        await first.reads('"one"')
        await second.reads('"one"')
        refused = await busy.user("ann").post("/v1/query", json={"query": "And I?"})
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "1"
        assert refused.json()["detail"] == {
            "response": "Too many questions at once",
            "cause": "User ann may have 2 questions answered at once.",
        }
        assert (await busy.user("bob").post("/v1/query", json={"query": "And I?"})).status_code == 200
        async with streaming(busy, "bob", query="Wait 3.") as third:
            await third.reads('"one"')
            refused = await busy.user("eve").post("/v1/streaming_query", json={"query": "And I?"})
            assert refused.status_code == 429
            assert refused.json()["detail"]["cause"] == "The service answers 3 questions at once."
            await interrupt(busy, third.request_id, "bob")
        await interrupt(busy, first.request_id, "ann")
        await interrupt(busy, second.request_id, "ann")
    assert (await busy.user("eve").post("/v1/query", json={"query": "And now?"})).status_code == 200


async def test_requests_a_minute(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        async with running(tmp_path, model, service={"limits": {"requests_per_minute": 3}}) as service:
            ann = service.user("ann")
            assert [(await ann.get("/v1/info")).status_code for _ in range(4)] == [200, 200, 200, 429]
            refused = await ann.post("/v1/query", json={"query": "And I?"})
            assert refused.status_code == 429
            assert 1 <= int(refused.headers["Retry-After"]) <= 20
            assert refused.json()["detail"] == {
                "response": "Too many requests",
                "cause": "User ann may send 3 requests a minute.",
            }
            assert (await service.user("bob").get("/v1/info")).status_code == 200
            for path in ("/liveness", "/readiness", "/metrics"):
                assert [(await ann.get(path)).status_code for _ in range(4)] == [200] * 4
