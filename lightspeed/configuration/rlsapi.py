"""The section `rlsapi_v1`: the route /v1/infer."""

from typing import Literal

from pydantic import Field

from lightspeed.configuration.section import Section


class RlsapiV1Configuration(Section):
    """What /v1/infer allows and whom it charges."""

    allow_verbose_infer: bool = Field(False, description="Whether requests may ask for metadata.")
    quota_subject: Literal["user_id", "org_id", "system_id"] | None = Field(
        None, description="Whose quota is charged; null charges nobody."
    )
