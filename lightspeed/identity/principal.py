"""Who asks."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller that authentication has named.

    `skip_userid_check` says that this caller may act on data of any user. `token` is what the caller
    sent, for parts that act in the caller's name; it never shows in a dump.
    """

    user_id: str
    username: str
    skip_userid_check: bool = False
    token: str = field(default="", repr=False)
