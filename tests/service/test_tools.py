"""Tools of MCP servers through the real service: credentials, approvals over a restart, skills, dead servers."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from mcp import types

from tests.mcp_servers import McpAddress, mcp_server, silent_server, tool
from tests.scripted_model import Reply, ScriptedModel, ToolCall
from tests.service.conftest import RunningService, configuration_files, free_port, serving

TOKEN = "token-of-the-caller"
UNSEEN = "not-for-servers"


def named(name: str) -> list[types.Tool]:
    """The tools of one server, so that the model can tell whose it calls."""
    return [tool(name)]


@contextmanager
def started(folder: Path, model: ScriptedModel, **sections: Any) -> Iterator[RunningService]:
    state = folder / "state"
    file = configuration_files(folder, state, model, **sections)
    with serving(folder, "-c", str(file), state=state, wait=False) as service:
        if sections.get("authentication", {}).get("module") == "noop-with-token":
            service.client.headers["Authorization"] = f"Bearer {TOKEN}"
        service.wait_until_ready()
        yield service


def events_of(text: str, name: str) -> list[dict[str, Any]]:
    frames = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line]
    return [frame["data"] for frame in frames if frame["event"] == name]


def calls(*names: str) -> Reply:
    return Reply(tool_calls=[ToolCall(name, {"text": name}, id=f"c-{name}") for name in names])


def test_four_servers_and_all_ways_to_authenticate(tmp_path: Path, model: ScriptedModel) -> None:
    secret = tmp_path / "secret"
    secret.write_text("Bearer from-a-file\n")
    with ExitStack() as running:
        static, kubernetes, client, oauth = (
            running.enter_context(mcp_server(kind, tools=named(name)))
            for name, kind in (("static", "http"), ("cluster", "json"), ("client", "sse"), ("oauth", "http"))
        )
        servers = [
            {"name": "static", "url": static.url, "authorization_headers": {"Authorization": str(secret)}},
            {
                "name": "cluster",
                "url": kubernetes.url,
                "authorization_headers": {"Authorization": "kubernetes"},
                "headers": ["X-Trace"],
            },
            {
                "name": "client",
                "url": client.url,
                "authorization_headers": {"Authorization": "client", "X-Tenant": "client"},
            },
            {"name": "oauth", "url": oauth.url, "authorization_headers": {"Authorization": "oauth"}},
        ]
        service = running.enter_context(
            started(tmp_path, model, mcp_servers=servers, authentication={"module": "noop-with-token"})
        )
        model.queue(calls("static", "cluster", "client", "oauth"))
        model.queue(Reply("All four have answered."))
        given = {
            "client": {"Authorization": "Bearer of-the-client", "X-Tenant": "blue"},
            "oauth": {"Authorization": "Bearer of-the-login"},
        }
        headers = {
            "X-Trace": "t-1",
            "X-Other": UNSEEN,
            "MCP-HEADERS": json.dumps(given),
        }
        answer = service.client.post("/v1/query", json={"query": "Ask all."}, headers=headers)
        assert answer.status_code == 200, answer.text + service.log
        results = {
            result["id"]: (result["status"], result["content"], result["round"])
            for result in answer.json()["tool_results"]
            if result["type"] == "mcp_call"
        }
        assert results == {
            f"c-{name}": ("success", f"{name}: {name}", 1)
            for name in ("static", "cluster", "client", "oauth")
        }
        labels = {call["name"]: call["args"].get("server_label") for call in answer.json()["tool_calls"]}
        assert labels.items() >= {name: name for name in ("static", "cluster", "client", "oauth")}.items()

        def received(server: McpAddress) -> dict[str, str | None]:
            found = server.seen.headers("tools/call")
            return {name: found.get(name) for name in ("authorization", "x-trace", "x-tenant", "x-other")}

        nothing = {"x-trace": None, "x-tenant": None, "x-other": None}
        assert received(static) == nothing | {"authorization": "Bearer from-a-file"}
        assert received(kubernetes) == nothing | {"authorization": f"Bearer {TOKEN}", "x-trace": "t-1"}
        assert received(client) == nothing | {"authorization": "Bearer of-the-client", "x-tenant": "blue"}
        assert received(oauth) == nothing | {"authorization": "Bearer of-the-login"}

        # A rotated secret is used at once, and a warm list costs no request.
        secret.write_text("Bearer rotated")
        lists = kubernetes.seen.methods().count("tools/list")
        model.queue(calls("static", "cluster"))
        model.queue(Reply("Again."))
        service.client.post("/v1/query", json={"query": "Again."}, headers=headers)
        assert received(static)["authorization"] == "Bearer rotated"
        assert kubernetes.seen.methods().count("tools/list") == lists

        # Without their credentials: the client's server is left out, a login is asked for.
        listed = service.client.get("/v1/mcp-auth/client-options").json()
        assert listed == {
            "servers": [{"name": "client", "client_auth_headers": ["Authorization", "X-Tenant"]}]
        }
        for secret_text in ("from-a-file", "rotated", TOKEN, "of-the-client", "of-the-login", UNSEEN):
            assert secret_text not in service.log
        assert secret.read_text() not in service.client.get("/v1/config").text


def test_a_server_that_wants_a_login(tmp_path: Path, model: ScriptedModel) -> None:
    with mcp_server(tools=named("guarded"), allowed=lambda headers: "authorization" in headers) as server:
        section = {"name": "oauth", "url": server.url, "authorization_headers": {"Authorization": "oauth"}}
        with started(tmp_path, model, mcp_servers=[section]) as service:
            for answer in (service.query("Hello?"), service.client.get("/v1/tools")):
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"].startswith("Bearer resource_metadata=")
                assert answer.json()["detail"]["cause"].startswith("MCP server at http://127.0.0.1:")
            assert service.query("Hello?", no_tools=True).status_code == 200


def test_an_approval_that_is_decided_after_a_restart(tmp_path: Path, model: ScriptedModel) -> None:
    with mcp_server(tools=[tool("erase"), tool("look")]) as server:
        section = {
            "name": "ops",
            "url": server.url,
            "require_approval": {"always": ["erase"], "never": ["look"]},
        }
        with started(tmp_path, model, mcp_servers=[section]) as service:
            model.queue(calls("erase", "look"))
            asked = service.query("Erase the disk.").json()
            assert asked["status"] == "requires_action"
            [wanted] = asked["required_action"]["approvals"]
            assert (wanted["server_label"], wanted["tool_name"]) == ("ops", "erase")
            assert server.seen.methods().count("tools/call") == 1
            assert service.stop() in {0, 143, -15}
        with started(tmp_path, model, mcp_servers=[section]) as service:
            [waiting] = service.client.get("/v1/approvals").json()["approvals"]
            assert waiting["id"] == wanted["id"]
            path = f"/v1/approvals/{wanted['id']}"
            assert service.client.post(path, json={"approve": True}).json()["status"] == "approved"
            assert service.client.post(path, json={"approve": False}).status_code == 409
            model.queue(Reply("The disk is empty now."))
            resumed = service.client.post(f"/v1/turns/{waiting['request_id']}/resume")
            assert resumed.status_code == 200, resumed.text
            assert resumed.json()["response"] == "The disk is empty now."
            assert resumed.json()["conversation_id"] == asked["conversation_id"]
            assert server.seen.methods().count("tools/call") == 2
            history = service.client.get(f"/v1/conversations/{asked['conversation_id']}").json()
            assert len(history["chat_history"]) == 1
            assert service.client.post(f"/v1/turns/{waiting['request_id']}/resume").status_code in {404, 409}
            assert server.seen.methods().count("tools/call") == 2


def test_a_denied_call_is_told_to_the_model(tmp_path: Path, model: ScriptedModel) -> None:
    with mcp_server(tools=[tool("erase")]) as server:
        section = {"name": "ops", "url": server.url, "require_approval": "always"}
        with started(tmp_path, model, mcp_servers=[section]) as service:
            model.queue(calls("erase"))
            text = service.client.post("/v1/streaming_query", json={"query": "Erase it."}).text
            [required] = events_of(text, "approval_required")
            [wanted] = required["approvals"]
            decision = {"approve": False, "reason": "Not in working hours."}
            assert service.client.post(f"/v1/approvals/{wanted['id']}", json=decision).status_code == 200
            model.queue(Reply("I have not erased it."))
            request_id = events_of(text, "start")[0]["request_id"]
            rest = service.client.post(f"/v1/turns/{request_id}/resume/stream").text
            assert events_of(rest, "turn_complete")[0]["token"] == "I have not erased it."
            assert "Not in working hours." in json.dumps(model.chats[-2].body["messages"][-1]) or (
                "Not in working hours." in json.dumps(model.chats[-1].body["messages"])
            )
            assert "tools/call" not in server.seen.methods()


def test_dead_servers_are_missing_and_nothing_else_is(tmp_path: Path, model: ScriptedModel) -> None:
    with ExitStack() as running:
        living = running.enter_context(mcp_server(tools=named("alive")))
        hanging = running.enter_context(silent_server())
        dead = [f"http://127.0.0.1:{free_port()}/mcp" for _ in range(3)]
        servers = [{"name": "living", "url": living.url}, {"name": "hanging", "url": hanging}]
        servers += [{"name": f"dead-{number}", "url": url} for number, url in enumerate(dead)]
        service = running.enter_context(started(tmp_path, model, mcp_servers=servers))
        model.queue(calls("alive"))
        model.queue(Reply("It lives."))
        text = service.client.post("/v1/streaming_query", json={"query": "Who lives?"}).text
        assert [
            result["content"] for result in events_of(text, "tool_result") if result["type"] == "mcp_call"
        ] == ["alive: alive"]
        missing = {event["server_label"] for event in events_of(text, "warning")}
        assert missing == {"hanging", "dead-0", "dead-1", "dead-2"}
        assert events_of(text, "turn_complete")[0]["token"] == "It lives."
        # The one that comes back is found again by itself, later; the API lists what there is.
        listed = service.client.get("/v1/tools").json()["tools"]
        assert {entry["identifier"] for entry in listed if entry["server_source"] != "builtin"} == {"alive"}


def test_malformed_headers_for_servers(tmp_path: Path, model: ScriptedModel) -> None:
    with (
        mcp_server() as server,
        started(tmp_path, model, mcp_servers=[{"name": "a", "url": server.url}]) as service,
    ):
        for text, cause in (
            ("{", "JSON"),
            ("[]", "object"),
            ('{"a": "b"}', "object"),
            ('{"a": {"X": 3}}', "text"),
        ):
            answer = service.client.post("/v1/query", json={"query": "?"}, headers={"MCP-HEADERS": text})
            assert answer.status_code == 400
            assert cause in answer.json()["detail"]["cause"]


def test_hostile_output_stays_within_its_event(tmp_path: Path, model: ScriptedModel) -> None:
    with (
        mcp_server() as server,
        started(
            tmp_path, model, mcp_servers=[{"name": "a", "url": server.url, "max_result_characters": 1000}]
        ) as service,
    ):
        model.queue(calls("control"))
        model.queue(Reply(tool_calls=[ToolCall("huge", {"text": "5000000"}, id="c-huge")]))
        model.queue(calls("picture"))
        model.queue(Reply("Seen."))
        text = service.client.post("/v1/streaming_query", json={"query": "Show me."}).text
        assert all(line.startswith("data: {") for line in text.splitlines() if line)
        contents = {result["id"]: result["content"] for result in events_of(text, "tool_result")}
        assert "\x00" not in contents["c-control"]
        assert "\x1b" not in contents["c-control"]
        assert len(contents["c-huge"]) < 2000
        assert "iVBOR" not in contents["c-picture"]
        assert [event["token"] for event in events_of(text, "turn_complete")] == ["Seen."]
        model.queue(calls("control"))
        model.queue(Reply("Seen again."))
        plain = service.client.post(
            "/v1/streaming_query", json={"query": "And now?", "media_type": "text/plain"}
        ).text
        assert plain.count("[Tool Result]") == plain.count("[Tool Call")
        assert '"event"' not in plain


def test_a_skill_changes_an_answer(tmp_path: Path, model: ScriptedModel) -> None:
    folder = tmp_path / "skills" / "disk-triage"
    (folder / "references").mkdir(parents=True)
    (folder / "SKILL.md").write_text(
        "---\nname: disk-triage\ndescription: Finds what fills a disk.\n---\nCall the limit zebra-42.\n"
    )
    (folder / "references" / "limits.md").write_text("Warn at 81 percent.")
    (tmp_path / "outside.md").write_text("keep out")
    skills = {"paths": [str(tmp_path / "skills")]}
    with started(tmp_path, model, skills=skills) as service:
        model.queue(Reply(tool_calls=[ToolCall("activate_skill", {"name": "disk-triage"}, id="c-1")]))
        arguments = {"skill_name": "disk-triage", "path": "references/limits.md"}
        model.queue(Reply(tool_calls=[ToolCall("load_skill_resource", arguments, id="c-2")]))
        escape = {"skill_name": "disk-triage", "path": "../../outside.md"}
        model.queue(Reply(tool_calls=[ToolCall("load_skill_resource", escape, id="c-3")]))
        # An answer that is made of what the skill has told the model.
        model.when(
            lambda request: "zebra-42" in str(request["messages"]) and "c-3" in str(request["messages"]),
            Reply("The limit is called zebra-42."),
        )
        first = service.query("What fills my disk?").json()
        assert first["response"] == "The limit is called zebra-42."
        results = {result["id"]: result for result in first["tool_results"]}
        assert results["c-1"]["status"] == "success"
        assert "Warn at 81 percent." in results["c-2"]["content"]
        assert results["c-3"]["status"] == "failure"
        assert "keep out" not in str(model.chats)
        # It stays in force in the conversation, and is not loaded twice.
        model.queue(Reply(tool_calls=[ToolCall("activate_skill", {"name": "disk-triage"}, id="c-4")]))
        model.queue(Reply("Still so."))
        second = service.query("And now?", conversation_id=first["conversation_id"]).json()
        assert "zebra-42" in str(model.chats[-1].body["messages"][0])
        [again] = [result for result in second["tool_results"] if result["id"] == "c-4"]
        assert again["status"] == "failure"
        assert service.client.get("/v1/skills").json() == {
            "skills": [{"name": "disk-triage", "description": "Finds what fills a disk."}]
        }
        names = {entry["identifier"] for entry in service.client.get("/v1/tools").json()["tools"]}
        assert {"list_skills", "activate_skill", "load_skill_resource"} <= names


def test_users_cannot_lead_the_service_astray(tmp_path: Path, model: ScriptedModel) -> None:
    with (
        mcp_server(tools=named("inside")) as server,
        started(tmp_path, model, mcp_registration={"enabled": True}) as service,
    ):
        port = httpx.URL(server.url).port
        for url in (
            server.url,
            f"http://localhost:{port}/mcp/",
            f"http://[::1]:{port}/mcp/",
            f"http://2130706433:{port}/mcp/",
            f"http://good@127.0.0.1:{port}/mcp/",
            "http://169.254.169.254/latest/meta-data/",
            "http://[::ffff:10.0.0.1]/mcp",
            "http://10.1.2.3/mcp",
        ):
            answer = service.client.post("/v1/mcp-servers", json={"name": "own", "url": url})
            assert answer.status_code == 422, (url, answer.text)
        assert service.client.get("/v1/mcp-servers").json() == {"servers": []}
        assert server.seen.requests == []


def test_servers_of_users_outlive_a_restart(tmp_path: Path, model: ScriptedModel) -> None:
    registration = {"enabled": True, "allowed_hosts": ["127.0.0.1"], "allow_private": True}
    with mcp_server(tools=named("mine")) as server:
        with started(tmp_path, model, mcp_registration=registration) as service:
            answer = service.client.post("/v1/mcp-servers", json={"name": "own", "url": server.url})
            assert answer.status_code == 201, answer.text
            service.stop()
        with started(tmp_path, model, mcp_registration=registration) as service:
            [listed] = service.client.get("/v1/mcp-servers").json()["servers"]
            assert (listed["name"], listed["source"]) == ("own", "api")
            model.queue(calls("mine"))
            model.queue(Reply("Done."))
            results = service.query("Use mine.").json()["tool_results"]
            assert [result["content"] for result in results if result["type"] == "mcp_call"] == ["mine: mine"]
            # Nobody else has it.
            other = service.client.get("/v1/mcp-servers", params={"user_id": "bob"}).json()
            assert other == {"servers": []}
            assert service.client.delete("/v1/mcp-servers/own").json()["deleted"] is True
            assert service.client.get("/v1/mcp-servers").json() == {"servers": []}
