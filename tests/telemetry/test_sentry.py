"""Reports to Sentry: the whole application, and a real server that receives the envelopes."""

import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lightspeed import __version__
from lightspeed.telemetry.sentry import Sentry
from tests.api.conftest import Service, running
from tests.scripted_model import Reply, ScriptedModel, server_error
from tests.telemetry.receiver import Receiver

pytestmark = pytest.mark.anyio

QUESTION = "What is the vault's colour?"


def dsn(receiver: Receiver) -> str:
    return f"{receiver.url.replace('://', '://publickey@')}/7"


@pytest.fixture(autouse=True)
def environment_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SENTRY_DSN", "SENTRY_ENVIRONMENT", "SENTRY_CA_CERTS"):
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def reporting(
    state: Path, monkeypatch: pytest.MonkeyPatch, **variables: str
) -> AsyncIterator[tuple[Service, Receiver]]:
    """When the block ends, all reports have been received."""
    with Receiver() as receiver, ScriptedModel() as model:
        for name, value in ({"SENTRY_DSN": dsn(receiver)} | variables).items():
            monkeypatch.setenv(name, value)
        async with running(state, model) as service:
            yield service, receiver


def items(receiver: Receiver, kind: str) -> list[dict[str, Any]]:
    """What the envelopes hold of a kind: `event` or `transaction`."""
    found = []
    for request in receiver.requests:
        assert request.path == "/api/7/envelope/"
        _, *lines = request.body.split(b"\n")
        pairs = zip(lines[::2], lines[1::2], strict=False)
        found += [json.loads(content) for head, content in pairs if json.loads(head)["type"] == kind]
    return found


async def ask(service: Service, **headers: str) -> Any:
    body = {"query": QUESTION, "generate_topic_summary": False}
    return await service.client.post("/v1/query?user_id=alice", json=body, headers=headers)


def drawn(number: float) -> dict[str, str]:
    """Headers of a caller by which the lot falls on this number."""
    return {
        "sentry-trace": "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "baggage": f"sentry-trace_id=4bf92f3577b34da6a3ce929d0e0e4736,sentry-sample_rand={number}",
    }


async def test_a_quarter_of_what_is_posted_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reporting(tmp_path, monkeypatch, SENTRY_ENVIRONMENT="stage") as (service, receiver):
        assert (await ask(service, **drawn(0.24))).status_code == 200
        assert (await ask(service, **drawn(0.26))).status_code == 200
        for path in ("/readiness", "/liveness", "/metrics", "/v1/info", "/v1/models", "/"):
            await service.client.get(path, headers=drawn(0.0))
        await service.client.post("/", headers=drawn(0.0))
        await service.client.post("/readiness", headers=drawn(0.0))
    (transaction,) = items(receiver, "transaction")
    assert transaction["transaction"] == "POST /v1/query"
    assert transaction["environment"] == "stage"
    assert transaction["release"] == f"lightspeed-stack@{__version__}"
    assert transaction["contexts"]["trace"]["op"] == "http.server"
    assert transaction["contexts"]["trace"]["status"] == "ok"
    assert items(receiver, "event") == []
    sent = b"".join(request.body for request in receiver.requests)
    for private in (b"vault", b"alice", b"user_id"):
        assert private not in sent


async def test_what_is_logged_as_an_error_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reporting(tmp_path, monkeypatch) as (service, receiver):

        async def broken(*_: Any) -> None:
            question = QUESTION  # a local variable
            # Lines of the source are sent, so the secret must not stand in one.
            raise RuntimeError("api_key={} {}".format("hunter" + "2", len(question)))

        monkeypatch.setattr("lightspeed.assistant.planning.Planner.plan", broken)
        assert (await ask(service, **{"X-Request-ID": "id-7"})).status_code == 500
    (event,) = (event for event in items(receiver, "event") if "exception" in event)
    assert event["level"] == "error"
    assert event["environment"] == "development"
    assert event["logger"] == "lightspeed.assistant.assistant"
    assert event["tags"]["request_id"] == "id-7"
    (error,) = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("RuntimeError", f"api_key=********** {len(QUESTION)}")
    sent = b"".join(request.body for request in receiver.requests)
    for private in (b"hunter2", b"vault", b"alice", b'"vars"', b'"request":', b'"user"'):
        assert private not in sent


async def test_errors_in_the_background_are_reported_with_masked_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as receiver:
        sentry = Sentry({"SENTRY_DSN": dsn(receiver)})
        await sentry.open()
        with sentry.reporting():
            logger = logging.getLogger("lightspeed.background")
            logger.warning("not reported")
            logger.error("the database answered %s", "password=hunter2")
        logger.error("after the end of the block")
        await sentry.close()
    (event,) = items(receiver, "event")
    assert event["logentry"] == {"message": "the database answered password=**********"}
    assert b"hunter2" not in receiver.requests[0].body


async def test_two_applications_do_not_mix() -> None:
    with Receiver() as one, Receiver() as other:
        first, second = Sentry({"SENTRY_DSN": dsn(one)}), Sentry({"SENTRY_DSN": dsn(other)})
        await first.open()
        await second.open()
        with first.reporting():
            logging.getLogger("lightspeed").error("first")
        with second.reporting():
            logging.getLogger("lightspeed").error("second")
        await first.close()
        await second.close()
    assert [event["logentry"]["message"] for event in items(one, "event")] == ["first"]
    assert [event["logentry"]["message"] for event in items(other, "event")] == ["second"]


async def test_without_a_dsn_nothing_is_made(tmp_path: Path) -> None:
    for sentry in (Sentry({}), Sentry({"SENTRY_DSN": ""})):
        await sentry.open()
        assert not sentry.configured
        with sentry.reporting(), sentry.transaction("POST", "/v1/query", {}, None) as transaction:
            assert transaction is None
        await sentry.close()


async def test_a_missing_package_costs_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    sentry = Sentry({"SENTRY_DSN": "http://publickey@127.0.0.1:9/7"})
    await sentry.open()
    with sentry.reporting():
        logging.getLogger("lightspeed").error("one")
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "sentry-sdk is missing" in warning.getMessage()
    assert "publickey" not in caplog.text


async def test_a_wrong_dsn_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    sentry = Sentry({"SENTRY_DSN": "secretkey@nowhere"})
    await sentry.open()
    with sentry.reporting(), sentry.transaction("POST", "/v1/query", {}, None) as transaction:
        assert transaction is None
    await sentry.close()
    (warning,) = caplog.records
    assert "No errors are reported to Sentry: BadDsn" in warning.getMessage()
    assert "secretkey" not in caplog.text


async def test_missing_certificates_are_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver() as receiver:
        sentry = Sentry({"SENTRY_DSN": dsn(receiver), "SENTRY_CA_CERTS": str(tmp_path / "none.pem")})
        await sentry.open()
        with sentry.reporting():
            logging.getLogger("lightspeed").error("one")
        await sentry.close()
    assert "SENTRY_CA_CERTS: no such file" in caplog.text
    assert len(items(receiver, "event")) == 1


async def test_a_sentry_that_hangs_delays_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with reporting(tmp_path, monkeypatch) as (service, receiver):
        receiver.released.clear()
        service.model.queue(Reply(error=server_error()), times=9)
        for _ in range(3):
            await ask(service, **drawn(0.0))
        assert (await service.client.get("/liveness")).status_code == 200
        receiver.released.set()
