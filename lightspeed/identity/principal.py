"""Who asks."""

from dataclasses import dataclass, field

from lightspeed.configuration.authorization import EVERYONE


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller that authentication has named.

    `skip_userid_check` says that the user id was not proved. `token` is what the caller sent, for parts that act
    in the caller's name; it never shows in a dump. `organization_id` and `system_id` are empty where the module
    does not tell them.
    """

    user_id: str
    username: str
    skip_userid_check: bool = False
    token: str = field(default="", repr=False)
    roles: frozenset[str] = frozenset({EVERYONE})
    organization_id: str = ""
    system_id: str = ""
