"""Listing conversations: order, pages, search."""

from typing import Any

import pytest

from tests.api.conftest import Service
from tests.api.conversations import at, conversation

pytestmark = pytest.mark.anyio

both = pytest.mark.parametrize("version", ["v1", "v2"])


async def listed(service: Service, version: str, user: str, **parameters: Any) -> list[str]:
    answer = await service.user(user).get(f"/{version}/conversations", params=parameters)
    assert answer.status_code == 200, answer.text
    return [entry["conversation_id"] for entry in answer.json()["conversations"]]


@pytest.fixture(scope="module")
async def five(service: Service) -> list[str]:
    """Conversations of anna, newest first; two of them ended at the same moment."""
    subjects = ("nodes", "pods", "Backups", "Übersicht", "50% of_all")
    made = [
        await conversation(service, "anna", query=subject, answer=f"On {subject}.", completed_at=at(minute))
        for minute, subject in zip((1, 2, 3, 3, 4), subjects, strict=True)
    ]
    await service.user("anna").put(f"/v1/conversations/{made[0]}", json={"topic_summary": "Machines"})
    first, second, *same, last = made
    return [last, *sorted(same, reverse=True), second, first]


async def test_the_list_of_version_1_has_the_shape_of_the_contract(service: Service) -> None:
    conversation_id = await conversation(service, "lister", {}, {"model": "m2", "completed_at": at(9)})
    answer = await service.user("lister").get("/v1/conversations")
    assert answer.json() == {
        "conversations": [
            {
                "conversation_id": conversation_id,
                "created_at": "2030-01-02T03:04:05Z",
                "last_message_at": "2030-01-02T03:13:05Z",
                "message_count": 2,
                "last_used_model": "m2",
                "last_used_provider": "acme",
                "topic_summary": "",
            }
        ]
    }


async def test_the_list_of_version_2_has_the_shape_of_the_contract(service: Service) -> None:
    conversation_id = await conversation(service, "lister-2", completed_at=at(0))
    answer = await service.user("lister-2").get("/v2/conversations")
    assert answer.json() == {
        "conversations": [
            {
                "conversation_id": conversation_id,
                "topic_summary": None,
                "last_message_timestamp": at(0).timestamp(),
            }
        ]
    }


@both
async def test_conversations_are_listed_newest_first(service: Service, version: str, five: list[str]) -> None:
    assert await listed(service, version, "anna") == five
    assert await listed(service, version, "a stranger") == []


@both
async def test_pages_follow_each_other(service: Service, version: str, five: list[str]) -> None:
    pages = [await listed(service, version, "anna", limit=2)]
    while pages[-1]:
        pages.append(await listed(service, version, "anna", limit=2, after=pages[-1][-1]))
    assert pages == [five[:2], five[2:4], five[4:], []]
    assert await listed(service, version, "anna", after=five[1]) == five[2:]
    assert await listed(service, version, "anna", limit=1000) == five


@both
async def test_a_page_may_follow_any_spelling_of_an_id(
    service: Service, version: str, five: list[str]
) -> None:
    for spelling in (f"conv_{five[3]}", five[3].upper()):
        assert await listed(service, version, "anna", after=spelling) == five[4:]


@both
@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("pods", [3]),
        ("ON PODS.", [3]),
        ("machines", [4]),
        ("übersicht", [1, 2]),
        ("on ", [0, 1, 2, 3, 4]),
        ("%", [0]),
        ("f_a", [0]),
        ("fxa", []),
        ("\x00", []),
        ("x" * 200, []),
    ],
)
async def test_a_search_looks_into_topics_questions_and_answers(
    service: Service, version: str, five: list[str], search: str, found: list[int]
) -> None:
    actual = await listed(service, version, "anna", search=search)
    if search == "übersicht":
        assert len(actual) == 1
        assert actual[0] in five[1:3]
    else:
        assert actual == [five[index] for index in found]
    assert await listed(service, version, "a stranger", search=search) == []


@both
async def test_a_search_has_pages(service: Service, version: str, five: list[str]) -> None:
    assert await listed(service, version, "anna", search="on ", limit=2, after=five[0]) == five[1:3]


@both
@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": -1}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"search": ""}, "search"),
        ({"search": "x" * 201}, "search"),
    ],
)
async def test_parameters_of_the_wrong_form_are_refused(
    service: Service, version: str, parameters: dict[str, Any], name: str
) -> None:
    answer = await service.client.get(f"/{version}/conversations", params=parameters)
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["detail"]] == [["query", name]]


@both
async def test_a_page_needs_a_conversation_to_follow(service: Service, version: str, five: list[str]) -> None:
    path = f"/{version}/conversations"
    for user, after in (("anna", "0" * 48), ("a stranger", five[0])):
        answer = await service.user(user).get(path, params={"after": after})
        assert answer.status_code == 404
        assert answer.json()["detail"] == {
            "response": "Conversation not found",
            "cause": f"Conversation with ID {after} does not exist",
        }
    answer = await service.client.get(path, params={"after": "abc"})
    assert answer.status_code == 400
    assert answer.json()["detail"] == {
        "response": "Invalid conversation ID format",
        "cause": "The conversation ID abc has invalid format.",
    }


@both
async def test_unknown_parameters_are_ignored(service: Service, version: str, five: list[str]) -> None:
    assert await listed(service, version, "anna", colour="red") == five
