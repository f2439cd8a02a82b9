"""Prompts: templates for everyone, in versions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.paging import Order, PageQuery, page
from lightspeed.errors import BadRequest, Conflict, Forbidden, NotFound, StorageError
from lightspeed.identity.actions import Action
from lightspeed.storage.identifiers import normalize_prompt_id
from lightspeed.storage.prompt_templates import VARIABLE_NAME, undeclared

if TYPE_CHECKING:
    from lightspeed.storage.prompts import Prompt, Prompts

_TAGS = ("prompts",)
_PATH = "/v1/prompts"
_ONE = _PATH + "/{prompt_id}"
_VERSIONS = _ONE + "/versions"
_DEFAULT = _ONE + "/default-version"


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


VariableName = Annotated[str, Field(pattern=VARIABLE_NAME, max_length=100)]
Variables = Annotated[list[VariableName], Field(max_length=100), AfterValidator(_once)]


class PromptCreateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(
        min_length=1,
        max_length=100_000,
        description="May hold placeholders such as `{{ product }}`.",
        examples=["You know {{ product }}."],
    )
    variables: Variables | None = Field(
        None, description="Names of all placeholders.", examples=[["product"]]
    )

    @model_validator(mode="after")
    def _declares_its_variables(self) -> Self:
        if missing := undeclared(self.prompt, self.variables or ()):
            raise ValueError(f"the prompt uses variables that are not declared: {', '.join(missing)}")
        return self


class PromptUpdateRequest(PromptCreateRequest):
    version: int = Field(gt=0, description="The latest version, on which the change builds.")
    set_as_default: bool = True


class DefaultVersionRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(gt=0)


class PromptQuery(BaseModel):
    version: int | None = Field(None, description="Without it, the default version.")


class PromptsQuery(PageQuery):
    """Which part of the list is wanted; without `limit` it is all."""

    limit: int | None = Field(None, ge=1, le=100, description="At most so many.")  # type: ignore[assignment]
    order: Order = Field("desc", description="By id.")


class PromptResponse(BaseModel):
    """One version of a prompt."""

    prompt_id: str = Field(examples=["pmpt_" + "0a1b2c3d4e5f" * 4])
    version: int
    is_default: bool
    prompt: str
    variables: list[str]


class PromptsListResponse(BaseModel):
    """The last three are there if a page has been asked for."""

    data: list[PromptResponse]
    has_more: bool | None = None
    first_id: str | None = None
    last_id: str | None = None


class PromptVersionsResponse(BaseModel):
    data: list[PromptResponse] = Field(description="The latest version first.")


class PromptDeleteResponse(BaseModel):
    deleted: bool
    prompt_id: str
    response: str


async def create_prompt(call: Call[PromptCreateRequest]) -> PromptResponse:
    made = await _prompts(call).add(call.principal.user_id, call.body.prompt, call.body.variables or [])
    return _response(made)


async def list_prompts(call: Call[None, PromptsQuery]) -> PromptsListResponse:
    query = call.query
    found = await _prompts(call).defaults()
    if query.order == "asc":
        found.reverse()
    if not query.model_fields_set & {"limit", "after", "before"}:
        return PromptsListResponse(data=_responses(found))
    wanted_page = PageQuery.model_construct(
        limit=query.limit or max(len(found), 1), after=query.after, before=query.before
    )
    wanted, has_more = page(found, wanted_page, lambda prompt: prompt.id, resource="Prompt")
    return PromptsListResponse(
        data=_responses(wanted),
        has_more=has_more,
        first_id=wanted[0].id if wanted else None,
        last_id=wanted[-1].id if wanted else None,
    )


async def get_prompt(call: Call[None, PromptQuery]) -> PromptResponse:
    return _response(await _prompts(call).get(_requested_id(call), call.query.version))


async def list_versions(call: Call) -> PromptVersionsResponse:
    return PromptVersionsResponse(data=_responses(await _prompts(call).versions(_requested_id(call))))


async def update_prompt(call: Call[PromptUpdateRequest]) -> PromptResponse:
    body, prompt_id = call.body, _requested_id(call)
    await _check_author(call, prompt_id)
    made = await _prompts(call).add_version(
        prompt_id,
        body.version,
        call.principal.user_id,
        body.prompt,
        body.variables or [],
        set_as_default=body.set_as_default,
    )
    return _response(made)


async def set_default_version(call: Call[DefaultVersionRequest]) -> PromptResponse:
    prompt_id = _requested_id(call)
    await _check_author(call, prompt_id)
    return _response(await _prompts(call).set_default(prompt_id, call.body.version))


async def delete_prompt(call: Call) -> PromptDeleteResponse:
    prompt_id = _requested_id(call)
    try:
        await _check_author(call, prompt_id)
    except NotFound:
        deleted = False
    else:
        deleted = await _prompts(call).remove(prompt_id)
    return PromptDeleteResponse(
        deleted=deleted,
        prompt_id=prompt_id,
        response="Prompt deleted successfully" if deleted else "Prompt not found",
    )


async def _check_author(call: Call[Any, Any], prompt_id: str) -> None:
    """Where no rule says who manages prompts, each belongs to its author. Raises Forbidden and NotFound."""
    authorization = call.services.plan.configuration.authorization
    if (authorization and authorization.access_rules) or call.permits(Action.ADMIN):
        return
    author = (await _prompts(call).get(prompt_id, 1)).user_id
    if author != call.principal.user_id:
        raise Forbidden(
            f"The prompt {prompt_id} was made by somebody else. Without access rules only its author may change it."
        )


def _prompts(call: Call[Any, Any]) -> "Prompts":
    prompts: Prompts = call.services.services.prompts
    return prompts


def _requested_id(call: Call[Any, Any]) -> str:
    """Raises BadRequest."""
    asked = call.path["prompt_id"]
    prompt_id = normalize_prompt_id(asked)
    if prompt_id is None:
        raise BadRequest(f"The prompt ID {asked} has invalid format.", response="Invalid prompt ID format")
    return prompt_id


def _response(prompt: "Prompt") -> PromptResponse:
    return PromptResponse(
        prompt_id=prompt.id,
        version=prompt.version,
        is_default=prompt.is_default,
        prompt=prompt.prompt,
        variables=list(prompt.variables),
    )


def _responses(prompts: Sequence["Prompt"]) -> list[PromptResponse]:
    return [_response(prompt) for prompt in prompts]


ENDPOINTS = (
    Endpoint(
        "POST",
        _PATH,
        create_prompt,
        action=Action.MANAGE_PROMPTS,
        tags=_TAGS,
        summary="Make a prompt",
        description="Everyone may use it.",
        request=PromptCreateRequest,
        response=PromptResponse,
        status=201,
        errors=(StorageError,),
    ),
    Endpoint(
        "GET",
        _PATH,
        list_prompts,
        action=Action.READ_PROMPTS,
        tags=_TAGS,
        summary="List the default version of each prompt, by descending id",
        query=PromptsQuery,
        response=PromptsListResponse,
        exclude_none=True,
        errors=(NotFound, StorageError),
    ),
    Endpoint(
        "GET",
        _ONE,
        get_prompt,
        action=Action.READ_PROMPTS,
        tags=_TAGS,
        summary="Read a prompt, in its default version or another",
        query=PromptQuery,
        response=PromptResponse,
        errors=(BadRequest, NotFound, StorageError),
    ),
    Endpoint(
        "PUT",
        _ONE,
        update_prompt,
        action=Action.MANAGE_PROMPTS,
        tags=_TAGS,
        summary="Change a prompt, which makes a new version",
        description="A 409 tells that somebody else has changed it since.",
        request=PromptUpdateRequest,
        response=PromptResponse,
        errors=(BadRequest, Forbidden, NotFound, Conflict, StorageError),
    ),
    Endpoint(
        "DELETE",
        _ONE,
        delete_prompt,
        action=Action.MANAGE_PROMPTS,
        tags=_TAGS,
        summary="Delete a prompt in all versions",
        response=PromptDeleteResponse,
        errors=(BadRequest, Forbidden, StorageError),
    ),
    Endpoint(
        "GET",
        _VERSIONS,
        list_versions,
        action=Action.READ_PROMPTS,
        tags=_TAGS,
        summary="List all versions of a prompt",
        response=PromptVersionsResponse,
        errors=(BadRequest, NotFound, StorageError),
    ),
    Endpoint(
        "PUT",
        _DEFAULT,
        set_default_version,
        action=Action.MANAGE_PROMPTS,
        tags=_TAGS,
        summary="Choose the default version of a prompt",
        request=DefaultVersionRequest,
        response=PromptResponse,
        errors=(BadRequest, Forbidden, NotFound, StorageError),
    ),
)
