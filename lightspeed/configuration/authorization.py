"""The section `authorization`: who may do what."""

from pydantic import Field

from lightspeed.configuration.fields import Text
from lightspeed.configuration.section import Section
from lightspeed.identity.actions import Action


class AccessRule(Section):
    """What a role may do. Rules of one role add up."""

    role: Text = Field(description="Role; everyone has `*`.")
    actions: tuple[Action, ...] = Field(description="Actions that the role may do.")


class AuthorizationConfiguration(Section):
    """Access rules."""

    access_rules: tuple[AccessRule, ...] = Field((), description="Rules.")
