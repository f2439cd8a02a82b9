"""The section `authorization`: who may do what."""

from collections.abc import Iterator, Mapping

from pydantic import Field

from lightspeed.configuration.fields import Text
from lightspeed.configuration.section import KeyPath, Section
from lightspeed.identity.actions import Action

EVERYONE = "*"
"""The role that every caller has."""


class AccessRule(Section):
    """What a role may do. Rules of one role add up."""

    role: Text = Field(description="Role; everyone has `*`.")
    actions: tuple[Action, ...] = Field(description="Actions that the role may do.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if Action.ADMIN in self.actions and len(set(self.actions)) > 1:
            yield ("actions",), "`admin` implies all other actions, and stands alone"


class AuthorizationConfiguration(Section):
    """Access rules."""

    access_rules: tuple[AccessRule, ...] = Field(
        (), description="Rules; without any, everyone's data is their own."
    )

    def grants_everyone(self, action: str) -> bool:
        """Whether also those may do it who have no role but everyone's."""
        actions = self.granted.get(EVERYONE, frozenset())
        return Action.ADMIN in actions or action in actions

    @property
    def granted(self) -> Mapping[str, frozenset[Action]]:
        """Actions by role."""
        found: dict[str, frozenset[Action]] = {}
        for rule in self.access_rules:
            found[rule.role] = found.get(rule.role, frozenset()) | frozenset(rule.actions)
        return found
