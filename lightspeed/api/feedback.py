"""Feedback on answers."""

from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lightspeed.api.endpoint import Access, Call, Endpoint
from lightspeed.api.feedback_switch import FeedbackSwitch
from lightspeed.errors import Forbidden, NotFound, StorageError
from lightspeed.identity.actions import Action
from lightspeed.storage.identifiers import normalize_conversation_id

Category = Literal["incorrect", "not_relevant", "incomplete", "outdated_information", "unsafe", "other"]


class FeedbackRequest(BaseModel):
    """What a user thinks of an answer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "conversation_id": "0" * 48,
                    "user_question": "How do I add documents?",
                    "llm_response": "With `lightspeed ingest`.",
                    "sentiment": 1,
                }
            ]
        },
    )

    conversation_id: str
    user_question: str
    llm_response: str
    sentiment: int | None = Field(None, description="-1 or 1.")
    user_feedback: str | None = Field(None, max_length=4096)
    categories: list[Category] | None = Field(None, description="What is wrong with the answer.")

    @field_validator("conversation_id")
    @classmethod
    def _known_form(cls, value: str) -> str:
        normalized = normalize_conversation_id(value)
        if normalized is None:
            raise ValueError(f"Improper conversation ID {value}")
        return normalized

    @field_validator("sentiment")
    @classmethod
    def _thumbs(cls, value: int | None) -> int | None:
        if value not in (None, -1, 1):
            raise ValueError(f"Improper sentiment value of {value}, needs to be -1 or 1")
        return value

    @field_validator("categories")
    @classmethod
    def _distinct(cls, value: list[Category] | None) -> list[Category] | None:
        return list(dict.fromkeys(value)) if value else None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.sentiment is None and not self.user_feedback and not self.categories:
            raise ValueError(
                "At least one form of feedback must be provided: 'sentiment', 'user_feedback', or 'categories'"
            )
        return self


class FeedbackResponse(BaseModel):
    response: str


class FeedbackState(BaseModel):
    enabled: bool


class FeedbackStatus(BaseModel):
    functionality: str
    status: FeedbackState


class FeedbackStatusRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: bool = Field(description="Whether feedback shall be stored.")


class FeedbackStatusChange(BaseModel):
    previous_status: bool
    updated_status: bool
    updated_by: str
    timestamp: str


class FeedbackStatusUpdate(BaseModel):
    status: FeedbackStatusChange


async def require_enabled(call: Call) -> None:
    if not await _switch(call).enabled(call.services.services.switches):
        raise Forbidden("Storing feedback is disabled.", response="Storing feedback is disabled")


async def store_feedback(call: Call[FeedbackRequest]) -> FeedbackResponse:
    services, body = call.services.services, call.body
    conversation = await services.recorder.find(body.conversation_id)
    if conversation is None:
        raise NotFound("Conversation", body.conversation_id)
    user_id = call.principal.user_id
    if conversation.user_id != user_id:
        raise Forbidden(
            f"User {user_id} does not have permission to submit feedback for conversation with ID "
            f"{body.conversation_id}"
        )
    if services.feedback is None:
        raise StorageError("No directory for feedback is configured.", response="Failed to store feedback")
    await services.feedback.store(user_id, body.model_dump())
    return FeedbackResponse(response="feedback received")


async def status(call: Call) -> FeedbackStatus:
    enabled = await _switch(call).enabled(call.services.services.switches)
    return FeedbackStatus(functionality="feedback", status=FeedbackState(enabled=enabled))


async def set_status(call: Call[FeedbackStatusRequest]) -> FeedbackStatusUpdate:
    wanted = call.body.status
    previous = await _switch(call).turn(call.services.services.switches, on=wanted)
    return FeedbackStatusUpdate(
        status=FeedbackStatusChange(
            previous_status=previous,
            updated_status=wanted,
            updated_by=call.principal.user_id,
            timestamp=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00:00"),
        )
    )


def _switch(call: Call[Any]) -> FeedbackSwitch:
    switch: FeedbackSwitch = call.request.app.state.feedback_switch
    return switch


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/feedback",
        store_feedback,
        action=Action.FEEDBACK,
        tags=("feedback",),
        summary="Say what you think of an answer",
        request=FeedbackRequest,
        response=FeedbackResponse,
        precondition=require_enabled,
        errors=(Forbidden, NotFound, StorageError),
    ),
    Endpoint(
        "GET",
        "/v1/feedback/status",
        status,
        action=Access.PUBLIC,
        tags=("feedback",),
        summary="Whether feedback is stored",
        response=FeedbackStatus,
    ),
    Endpoint(
        "PUT",
        "/v1/feedback/status",
        set_status,
        action=Action.ADMIN,
        tags=("feedback",),
        summary="Switch the storing of feedback on or off",
        request=FeedbackStatusRequest,
        response=FeedbackStatusUpdate,
        errors=(StorageError,),
    ),
)
