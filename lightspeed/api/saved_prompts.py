"""Saved prompts: texts that a user keeps for later. Nobody else sees them."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.errors import SchemaError
from lightspeed.configuration.saved_prompts import SavedPromptsConfiguration
from lightspeed.errors import BadRequest, Conflict, NotFound, StorageError, Unprocessable
from lightspeed.identity.actions import Action
from lightspeed.storage.identifiers import normalize_saved_prompt_id

if TYPE_CHECKING:
    from lightspeed.storage.saved_prompts import SavedPrompt, SavedPrompts

_TAGS = ("saved-prompts",)
_PATH = "/v1/saved-prompts"


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _trimmed(value: str) -> str:
    return value.strip()


class SavedPromptCreateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, AfterValidator(_not_blank), AfterValidator(_trimmed)] = Field(
        examples=["Disk report"], description="Spaces around it are dropped."
    )
    content: Annotated[str, AfterValidator(_not_blank)] = Field(examples=["Which host has the fullest disk?"])


class SavedPromptResponse(BaseModel):
    id: str = Field(examples=["7b52a8cf-0fa3-489c-beab-27e061d102f3"])
    name: str
    content: str
    created_at: datetime
    updated_at: datetime


class SavedPromptsListResponse(BaseModel):
    prompts: list[SavedPromptResponse] = Field(description="Newest first.")


class SavedPromptsConfigResponse(BaseModel):
    """Lengths are in characters."""

    max_prompts_per_user: int
    max_display_name_length: int
    max_content_length: int


class SavedPromptDeleteResponse(BaseModel):
    deleted: bool
    id: str
    response: str


async def limits(call: Call) -> SavedPromptsConfigResponse:
    return SavedPromptsConfigResponse.model_validate(_limits(call).model_dump())


async def list_saved(call: Call) -> SavedPromptsListResponse:
    found = await _saved(call).of_user(call.principal.user_id)
    return SavedPromptsListResponse(prompts=[_response(prompt) for prompt in found])


async def save(call: Call[SavedPromptCreateRequest]) -> SavedPromptResponse:
    body, settings = call.body, _limits(call)
    errors = [
        *_too_long("name", body.name, settings.max_display_name_length),
        *_too_long("content", body.content, settings.max_content_length),
    ]
    if errors:
        raise SchemaError(errors)
    made = await _saved(call).add(
        call.principal.user_id, body.name, body.content, most=settings.max_prompts_per_user
    )
    return _response(made)


async def delete_saved(call: Call) -> SavedPromptDeleteResponse:
    """Somebody else's are as unknown as those that never were."""
    asked = call.path["saved_prompt_id"]
    prompt_id = normalize_saved_prompt_id(asked)
    if prompt_id is None:
        raise BadRequest(
            f"The saved prompt ID {asked} has invalid format.", response="Invalid saved prompt ID format"
        )
    if not await _saved(call).remove(call.principal.user_id, prompt_id):
        raise NotFound("Saved prompt", prompt_id)
    return SavedPromptDeleteResponse(deleted=True, id=prompt_id, response="Saved prompt deleted successfully")


def _saved(call: Call[Any, Any]) -> "SavedPrompts":
    saved: SavedPrompts = call.services.services.saved_prompts
    return saved


def _limits(call: Call[Any, Any]) -> SavedPromptsConfiguration:
    settings: SavedPromptsConfiguration = call.services.plan.configuration.saved_prompts
    return settings


def _too_long(field: str, value: str, longest: int) -> list[dict[str, Any]]:
    """As pydantic tells it, without the value; the limits are not known before the configuration is read."""
    if len(value) <= longest:
        return []
    return [
        {
            "type": "string_too_long",
            "loc": ("body", field),
            "msg": f"String should have at most {longest} characters",
            "ctx": {"max_length": longest},
        }
    ]


def _response(prompt: "SavedPrompt") -> SavedPromptResponse:
    return SavedPromptResponse(
        id=prompt.id,
        name=prompt.name,
        content=prompt.content,
        created_at=prompt.created_at,
        updated_at=prompt.updated_at,
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        _PATH + "/config",
        limits,
        action=Action.GET_CONFIG,
        tags=_TAGS,
        summary="How many prompts may be saved, and how long they may be",
        response=SavedPromptsConfigResponse,
    ),
    Endpoint(
        "GET",
        _PATH,
        list_saved,
        action=Action.MANAGE_SAVED_PROMPTS,
        tags=_TAGS,
        summary="List your saved prompts",
        response=SavedPromptsListResponse,
        errors=(StorageError,),
    ),
    Endpoint(
        "POST",
        _PATH,
        save,
        action=Action.MANAGE_SAVED_PROMPTS,
        tags=_TAGS,
        summary="Save a prompt",
        request=SavedPromptCreateRequest,
        response=SavedPromptResponse,
        status=201,
        errors=(Conflict, Unprocessable, StorageError),
    ),
    Endpoint(
        "DELETE",
        _PATH + "/{saved_prompt_id}",
        delete_saved,
        action=Action.MANAGE_SAVED_PROMPTS,
        tags=_TAGS,
        summary="Delete one of your saved prompts",
        response=SavedPromptDeleteResponse,
        errors=(BadRequest, NotFound, StorageError),
    ),
)
