"""An interrupt that reaches another process than the one that answers."""

import json
import os
import signal
import threading
from pathlib import Path

import httpx

from tests.scripted_model import Reply, ScriptedModel
from tests.service.conftest import configuration_files, serving
from tests.service.kept import in_sqlite
from tests.service.test_workers import children, ready_workers, wait_for

URL = "/v1/streaming_query/interrupt"


def test_an_interrupt_works_whichever_process_it_reaches(tmp_path: Path, model: ScriptedModel) -> None:
    state = tmp_path / "state"
    file = configuration_files(tmp_path, state, model, service={"host": "127.0.0.1", "workers": 2})
    with serving(tmp_path, "-c", str(file), state=state) as service:
        wait_for(lambda: len(ready_workers(service)) == 2, service)
        first, second = children(service.process.pid)
        model.queue(Reply("one two three", hang_at=2))
        stopped: list[httpx.Response] = []

        def interrupt(request_id: str) -> None:
            answer = httpx.post(
                f"{service.url}{URL}", json={"request_id": request_id}, timeout=60, trust_env=False
            )
            stopped.append(answer)

        # A process that stands still takes no connection: so it is known who answers what.
        os.kill(second, signal.SIGSTOP)
        seen = ""
        with service.client.stream("POST", "/v1/streaming_query", json={"query": "Count."}) as stream:
            for block in stream.iter_text():
                seen += block
                if '" two"' in seen and not stopped and "interrupted" not in seen:
                    request_id = json.loads(seen.split("\n\n")[0][6:])["data"]["request_id"]
                    os.kill(first, signal.SIGSTOP)
                    os.kill(second, signal.SIGCONT)
                    thread = threading.Thread(target=interrupt, args=(request_id,))
                    thread.start()
                    thread.join(0.5)
                    assert thread.is_alive(), stopped
                    os.kill(first, signal.SIGCONT)
                    thread.join()
        assert stopped[0].json() == {
            "request_id": request_id,
            "interrupted": True,
            "message": "Streaming request interrupted",
        }
        assert '"event": "interrupted"' in seen
        kept = in_sqlite(state)
        wait_for(lambda: kept.queries() == ["Count."], service)
        [[answer, status, read, written]] = kept.rows(
            "SELECT answer, status, input_tokens, output_tokens FROM lightspeed_turns"
        )
        assert (answer, status) == ("one two", "interrupted")
        # The provider has not told them, since its stream was cut.
        assert int(read) > 0
        assert int(written) == 2
        unknown = service.client.post(URL, json={"request_id": request_id})
        assert unknown.status_code == 404
