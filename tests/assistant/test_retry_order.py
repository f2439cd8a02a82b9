"""What fails does not hold up what does not."""

from dataclasses import replace

from lightspeed.assistant.retry_order import RetryOrder
from lightspeed.storage.pending import PendingTurn
from tests.storage.turns import a_turn


def waiting(query: str, conversation: PendingTurn | None = None) -> PendingTurn:
    turn = a_turn(request_id=query, query=query)
    if conversation is not None:
        turn = replace(turn, conversation_id=conversation.turn.conversation_id)
    return PendingTurn(turn, begins=conversation is None)


def queries(groups: list[list[PendingTurn]]) -> list[list[str]]:
    return [[item.turn.query for item in group] for group in groups]


def test_the_turns_of_a_conversation_stay_together_and_the_oldest_is_first() -> None:
    a = waiting("a1")
    batch = [a, waiting("b1"), waiting("a2", a), waiting("c1")]
    assert queries(RetryOrder().conversations(batch)) == [["a1", "a2"], ["b1"], ["c1"]]


def test_what_has_failed_goes_behind_until_it_is_recorded() -> None:
    order = RetryOrder()
    a, b, _ = batch = [waiting("a"), waiting("b"), waiting("c")]
    order.failed(a.turn, refused=False)
    order.failed(b.turn, refused=False)
    order.failed(a.turn, refused=False)
    assert queries(order.conversations(batch)) == [["c"], ["b"], ["a"]]
    order.done(a.turn)
    assert queries(order.conversations(batch)) == [["a"], ["c"], ["b"]]


def test_only_a_turn_that_is_refused_again_and_again_is_set_aside() -> None:
    order = RetryOrder()
    unlucky, unfit = waiting("unlucky"), waiting("unfit")
    for _ in range(100):
        assert not order.failed(unlucky.turn, refused=False)
    tries = 1
    while not order.failed(unfit.turn, refused=True):
        tries += 1
    assert tries == RetryOrder.REFUSALS
    assert order.tried([unlucky, unfit]) == [unlucky]
    assert order.set_aside == 1
