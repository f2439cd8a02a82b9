"""GET /v1/skills."""

from pydantic import BaseModel, Field

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.identity.actions import Action


class SkillDescription(BaseModel):
    name: str = Field(examples=["disk-triage"])
    description: str


class SkillsResponse(BaseModel):
    skills: list[SkillDescription]


async def skills(call: Call) -> SkillsResponse:
    return SkillsResponse(
        skills=[
            SkillDescription(name=skill.name, description=skill.description)
            for skill in call.services.services.skills.catalogue
        ]
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/skills",
        skills,
        action=Action.GET_SKILLS,
        tags=("catalogue",),
        summary="The skills that the model may load",
        response=SkillsResponse,
    ),
)
