from typing import Any

import pytest
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from lightspeed.api.endpoint import Access, Call, Endpoint, by_path, model_response
from lightspeed.errors import Forbidden
from lightspeed.identity.actions import Action
from tests.api.declared_api import Answer, Filter, Question, answer, application, ask, authorize, client

pytestmark = pytest.mark.anyio


def get(path: str, handler: Any, **changes: Any) -> Endpoint:
    declared: dict[str, Any] = {"action": Access.PUBLIC, "tags": (), "summary": "", "response": Answer}
    return Endpoint("GET", path, handler, **(declared | changes))


async def hello(call: Call) -> Answer:
    return Answer(response="hello")


async def test_handler_receives_what_the_gates_found() -> None:
    seen: list[Call[Question]] = []

    async def record(call: Call[Question]) -> Answer:
        seen.append(call)
        return Answer(response="ok")

    async with client(application([ask(record)])) as http:
        response = await http.post("/v1/query", json={"query": "why?"}, headers={"X-Request-ID": "id-1"})
    assert response.json() == {"response": "ok", "remark": None}
    call = seen[0]
    assert call.body == Question(query="why?")
    assert call.principal.user_id == "alice"
    assert call.request_id == "id-1"
    assert call.services == "the services"
    assert call.query is None


async def test_handler_may_ask_for_further_rights() -> None:
    async def show(call: Call) -> Answer:
        return Answer(response=str(call.permits(Action.QUERY)))

    app = application([get("/rights", show, action=Access.AUTHENTICATED)])
    for user, expected in (("alice", "True"), ("guest", "False")):
        async with client(app, user) as http:
            assert (await http.get("/rights")).json()["response"] == expected
    with pytest.raises(RuntimeError, match="no principal"):
        await show(Call(None, None, "", None, authorize, None, None))  # type: ignore[arg-type]


async def test_gates_open_in_order() -> None:
    async def closed(call: Call) -> None:
        if call.request.headers.get("closed"):
            raise Forbidden("closed")

    app = application([ask(precondition=closed)])

    async def status(content: bytes, user: str | None, **headers: str) -> int:
        async with client(app, user) as http:
            return (await http.post("/v1/query", content=content, headers=headers)).status_code

    malformed, wrong, right = b"{", b"{}", b'{"query": "why?"}'
    assert await status(malformed, None) == 422
    assert await status(wrong, None) == 401
    assert await status(wrong, "guest", closed="1") == 403
    assert await status(wrong, "guest") == 422
    assert await status(right, "guest") == 403
    assert await status(right, "alice") == 200


async def test_refused_request_never_reaches_the_handler() -> None:
    async def unreachable(call: Call) -> Answer:
        raise AssertionError

    async with client(application([ask(unreachable)]), "guest") as http:
        response = await http.post("/v1/query", json={"query": "why?"})
    assert response.json()["detail"]["cause"] == "User guest is not authorized to access this endpoint."


async def test_authenticated_endpoint_needs_a_name_but_no_action() -> None:
    async def who(call: Call) -> Answer:
        return Answer(response=call.principal.username)

    app = application([get("/who", who, action=Access.AUTHENTICATED)])
    async with client(app, "guest") as http:
        assert (await http.get("/who")).json()["response"] == "guest"
    async with client(app, None) as http:
        refused = await http.get("/who")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"


async def test_public_endpoint_asks_nobody_and_has_no_principal() -> None:
    async def who(call: Call) -> Answer:
        with pytest.raises(RuntimeError, match="no principal"):
            _ = call.principal
        return Answer(response="anybody")

    async with client(application([get("/who", who)]), None) as http:
        assert (await http.get("/who")).json()["response"] == "anybody"


async def test_query_parameters_become_the_declared_model() -> None:
    async def show(call: Call[None, Filter]) -> Answer:
        return Answer(response=call.query.model_dump_json())

    async with client(application([get("/models", show, query=Filter)])) as http:
        found = await http.get("/models?model_type=llm&limit=3&tag=a&tag=b")
        default = await http.get("/models")
        wrong = await http.get("/models?limit=many&colour=red")
    assert found.json()["response"] == '{"model_type":"llm","limit":3,"tag":["a","b"]}'
    assert default.json()["response"] == '{"model_type":null,"limit":10,"tag":[]}'
    assert wrong.status_code == 422
    assert [error["loc"] for error in wrong.json()["detail"]] == [["query", "limit"], ["query", "colour"]]


async def test_undeclared_query_parameters_are_ignored() -> None:
    async with client(application([get("/hello", hello)])) as http:
        assert (await http.get("/hello?user_id=x")).status_code == 200


async def test_path_parameters() -> None:
    async def show(call: Call) -> Answer:
        return Answer(response=call.path["name"])

    endpoints = [get("/things/{name}", show), get("/things/special", hello)]
    async with client(application(endpoints)) as http:
        assert (await http.get("/things/a%20b")).json()["response"] == "a b"
        assert (await http.get("/things/special")).json()["response"] == "hello"


async def test_methods_of_one_path() -> None:
    app = application([get("/v1/query", hello), ask()])
    async with client(app) as http:
        head = await http.head("/v1/query")
        posted = await http.post("/v1/query", json={"query": "why?"})
        wrong = await http.delete("/v1/query")
    assert head.status_code == 200
    assert posted.json()["response"] == "why?"
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "GET, HEAD, POST"
    assert wrong.json() == {"detail": "Method Not Allowed"}


async def test_unknown_path_and_trailing_slash() -> None:
    async with client(application([get("/hello", hello)])) as http:
        unknown = await http.get("/nothing")
        slash = await http.get("/hello/")
    assert unknown.status_code == 404
    assert unknown.json() == {"detail": "Not Found"}
    assert slash.status_code == 307
    assert slash.headers["location"] == "http://service/hello"


async def test_answers() -> None:
    async def raw(call: Call) -> Response:
        return PlainTextResponse("text")

    async def created(call: Call) -> Response:
        return model_response(Answer(response="new"), 201, {"X-Extra": "1"}, exclude_none=True)

    endpoints = [
        get("/raw", raw),
        get("/created", created),
        get("/status", hello, status=202),
        get("/short", hello, exclude_none=True),
    ]
    async with client(application(endpoints)) as http:
        assert (await http.get("/raw")).text == "text"
        response = await http.get("/created")
        assert (response.status_code, response.headers["x-extra"]) == (201, "1")
        assert response.json() == {"response": "new"}
        assert (await http.get("/status")).status_code == 202
        assert (await http.get("/short")).json() == {"response": "hello"}


async def test_text_with_lone_surrogates_is_answered_escaped() -> None:
    async def emoji(call: Call) -> Answer:
        return Answer.model_construct(response="\ud83d" + "\ude00" + " and \ud83d")

    async with client(application([get("/emoji", emoji)])) as http:
        response = await http.get("/emoji")
    assert response.content == b'{"response":"\\ud83d\\ude00 and \\ud83d","remark":null}'


async def test_handler_may_read_the_body_itself() -> None:
    async def size(call: Call) -> Answer:
        return Answer(response=str(len(await call.request.body())))

    async with client(application([ask(size, request=None, max_body=10)])) as http:
        assert (await http.post("/v1/query", content=b"x" * 10)).json()["response"] == "10"
        refused = await http.post("/v1/query", content=b"x" * 11)
    assert refused.status_code == 413
    assert refused.json()["detail"]["cause"] == "The request body exceeds the limit of 10 bytes."


async def test_two_applications_keep_their_services_apart() -> None:
    class Name(BaseModel):
        name: str

    async def name(call: Call) -> Name:
        return Name(name=call.services)

    apps = [application([get("/name", name)], services=lambda _, tag=tag: tag) for tag in ("one", "two")]
    for app, expected in zip(apps, ("one", "two"), strict=True):
        async with client(app) as http:
            assert (await http.get("/name")).json() == {"name": expected}


def test_services_come_from_the_application_unless_told() -> None:
    from lightspeed.api.gates import Gates
    from tests.api.declared_api import authenticate, authorize

    class Fake:
        class app:  # noqa: N801
            class state:  # noqa: N801
                services = "built in the lifespan"

    assert Gates(authenticate, authorize).services(Fake()) == "built in the lifespan"  # type: ignore[arg-type]


def test_a_route_is_declared_once() -> None:
    with pytest.raises(ValueError, match="POST /v1/query is declared twice"):
        by_path([ask(), ask(answer, action=Action.INFO)])
