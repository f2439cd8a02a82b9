"""Who may do what."""

from collections.abc import Callable

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
        raise Forbidden(
            f"User {principal.user_id} is not authorized to access this endpoint.",
            response="User does not have permission to access this endpoint",
        )
