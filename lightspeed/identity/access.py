"""Who may do what."""

from collections.abc import Callable, Mapping

from lightspeed.errors import Forbidden
from lightspeed.identity.actions import Action
from lightspeed.identity.principal import Principal

_NEEDS_A_RULE = frozenset(
    {
        Action.ADMIN,
        Action.LIST_OTHER_CONVERSATIONS,
        Action.READ_OTHER_CONVERSATIONS,
        Action.QUERY_OTHER_CONVERSATIONS,
        Action.DELETE_OTHER_CONVERSATIONS,
    }
)

type Authorize = Callable[[Principal, Action], None]


def without_rules(principal: Principal, action: Action) -> None:
    """Everyone may do everything with what is their own. Raises Forbidden."""
    if action in _NEEDS_A_RULE:
        raise _not_authorized(principal)


class AccessRules:
    """Lets do what a rule grants to one of the caller's roles. `admin` implies all other actions."""

    def __init__(self, granted: Mapping[str, frozenset[Action]]) -> None:
        """`granted` holds actions by role."""
        everything = frozenset(Action)
        self._granted = {
            role: everything if Action.ADMIN in actions else actions for role, actions in granted.items()
        }

    def __call__(self, principal: Principal, action: Action) -> None:
        """Raises Forbidden."""
        if not any(action in self._granted.get(role, ()) for role in principal.roles):
            raise _not_authorized(principal)


def _not_authorized(principal: Principal) -> Forbidden:
    return Forbidden(
        f"User {principal.user_id} is not authorized to access this endpoint.",
        response="User does not have permission to access this endpoint",
    )
