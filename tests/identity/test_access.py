"""Who may do what."""

import pytest

from lightspeed.configuration.authorization import AuthorizationConfiguration
from lightspeed.errors import Forbidden
from lightspeed.identity.access import AccessRules, Authorize, without_rules
from lightspeed.identity.actions import Action
from lightspeed.identity.principal import Principal

OTHERS = {action for action in Action if "_other_" in action.value}


def granted(authorize: Authorize, *roles: str) -> set[Action]:
    principal = Principal("ann", "Ann", roles=frozenset({"*", *roles}))

    def permits(action: Action) -> bool:
        try:
            authorize(principal, action)
        except Forbidden:
            return False
        return True

    return {action for action in Action if permits(action)}


def rules(*pairs: tuple[str, list[str]]) -> AccessRules:
    configuration = AuthorizationConfiguration.model_validate(
        {"access_rules": [{"role": role, "actions": actions} for role, actions in pairs]}
    )
    return AccessRules(configuration.granted)


def test_without_rules_everyone_may_do_everything_with_their_own() -> None:
    assert len(OTHERS) == 4
    assert granted(without_rules) == set(Action) - OTHERS - {Action.ADMIN}


def test_a_rule_grants_what_it_lists_to_those_who_have_the_role() -> None:
    authorize = rules(("*", ["info"]), ("ops", ["query", "get_tools"]))
    assert granted(authorize) == {Action.INFO}
    assert granted(authorize, "ops") == {Action.INFO, Action.QUERY, Action.GET_TOOLS}
    assert granted(authorize, "admin") == {Action.INFO}


def test_rules_of_one_role_add_up_and_so_do_roles() -> None:
    authorize = rules(("a", ["query"]), ("a", ["info"]), ("b", ["feedback"]))
    assert granted(authorize, "a") == {Action.QUERY, Action.INFO}
    assert granted(authorize, "a", "b") == {Action.QUERY, Action.INFO, Action.FEEDBACK}


def test_admin_implies_everything() -> None:
    assert granted(rules(("root", ["admin"])), "root") == set(Action)
    assert granted(rules(("root", ["admin"]))) == set()


@pytest.mark.parametrize("action", list(Action))
def test_each_action_can_be_granted_alone(action: Action) -> None:
    expected = set(Action) if action is Action.ADMIN else {action}
    assert granted(rules(("*", [action.value]))) == expected


def test_what_a_refusal_says() -> None:
    with pytest.raises(Forbidden) as refused:
        rules()(Principal("ann", "Ann"), Action.QUERY)
    assert refused.value.cause == "User ann is not authorized to access this endpoint."
    assert refused.value.response == "User does not have permission to access this endpoint"
