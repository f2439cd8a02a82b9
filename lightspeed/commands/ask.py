"""`lightspeed ask`: a Turn in this process, told to a terminal."""

import os
import sys
from pathlib import Path
from uuid import uuid4

import anyio
from rich.console import Console
from rich.text import Text

from lightspeed.assistant.assistant import Assistant
from lightspeed.assistant.events import (
    ApprovalRequired,
    Completed,
    Ending,
    Failed,
    Interrupted,
    Started,
    Token,
    ToolCall,
    ToolsMissing,
)
from lightspeed.assistant.generation import LISTING
from lightspeed.assistant.request import ResumeRequest, TurnRequest
from lightspeed.assistant.tool_calls import APPROVAL_REQUEST
from lightspeed.assistant.turn import Turn
from lightspeed.commands.terminal_approval import TerminalApproval
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError, RequestError
from lightspeed.identity.authentication import DEFAULT_USER_ID
from lightspeed.plan import Plan, read_plan
from lightspeed.services import Services, start_services
from lightspeed.storage.identifiers import normalize_conversation_id
from lightspeed.telemetry.metrics import Face, Metrics


def ask_command(
    configuration: Configuration, source: Path, question: str, *, model: str | None, conversation: str | None
) -> int:
    """Answer on standard output, all else on standard error. Returns 0, or 1 when there is no answer."""
    provider, name = _split(model)
    conversation_id = _conversation_id(conversation)
    plan = read_plan(configuration, source, os.environ)
    request = TurnRequest(
        request_id=str(uuid4()),
        user_id=DEFAULT_USER_ID,
        query=question,
        face=Face.STREAMING_QUERY,
        stream=True,
        conversation_id=conversation_id,
        provider=provider,
        model=name,
    )
    return anyio.run(_ask, plan, request, backend_options={"use_uvloop": True})


async def _ask(plan: Plan, request: TurnRequest) -> int:
    notes = Console(stderr=True, highlight=False)
    services = await _start(plan, notes)
    try:
        ending = await answer(services.assistant, request, notes)
        return 0 if isinstance(ending, Completed) else 1
    finally:
        await services.close(grace=5)


async def answer(assistant: Assistant, request: TurnRequest, notes: Console) -> Ending:
    """Tell a Turn to its end, and ask in the terminal where a tool call needs it."""
    person = TerminalApproval(notes)
    turn = assistant.start(request)
    while True:
        ending = await _told(turn, notes)
        if not isinstance(ending, ApprovalRequired) or assistant.pauses is None:
            return ending
        try:
            for wanted in ending.approvals:
                allowed, reason = await person.decide(wanted)
                await assistant.pauses.decide(wanted.id, request.user_id, approve=allowed, reason=reason)
        except RequestError as error:
            _tell_error(error, notes)
            return Failed(error)
        turn = assistant.resume(
            ResumeRequest(request.request_id, request.user_id, request.face, stream=request.stream)
        )


async def _start(plan: Plan, notes: Console) -> Services:
    with notes.status("starting") as status:
        return await start_services(plan, Metrics(), status.update)


async def _told(turn: Turn, notes: Console) -> Ending:
    try:
        return await _tell(turn, notes)
    except BaseException:
        turn.interrupt()
        raise


async def _tell(turn: Turn, notes: Console) -> Ending:
    conversation_id = ""
    async for event in turn.events():
        match event:
            case Started():
                conversation_id = event.conversation_id
            case Token():
                sys.stdout.write(event.text)
                sys.stdout.flush()
            case ToolCall() if event.type not in (LISTING, APPROVAL_REQUEST):
                notes.print(Text(f"[{event.name}]", style="dim"))
            case ToolsMissing():
                notes.print(
                    Text(f"The tools of {event.server_label} are missing: {event.message}", style="dim")
                )
            case Failed():
                _tell_error(event.error, notes)
            case Completed():
                _tell_sources(event, conversation_id, notes)
            case ApprovalRequired() | Interrupted():
                sys.stdout.write("\n")
                sys.stdout.flush()
    return await turn.ending()


def _tell_error(error: RequestError, notes: Console) -> None:
    notes.print(Text(f"lightspeed: {error.response}: {error.cause}", style="red"))


def _tell_sources(completed: Completed, conversation_id: str, notes: Console) -> None:
    sys.stdout.write("\n")
    if completed.documents:
        sys.stdout.write("\nSources:\n")
    for number, document in enumerate(completed.documents, 1):
        place = document.doc_url or next(
            (
                str(chunk.attributes["docs_url"])
                for chunk in completed.chunks
                if chunk.attributes.get("document_id") == document.document_id
                and chunk.attributes.get("docs_url")
            ),
            document.document_id or "",
        )
        sys.stdout.write(f"  {number}. {document.doc_title or place} ({place})\n")
    sys.stdout.flush()
    usage = completed.usage
    notes.print(
        Text(
            f"{usage.input_tokens} tokens read, {usage.output_tokens} written; "
            f"continue with --conversation {conversation_id}",
            style="dim",
        )
    )


def _split(model: str | None) -> tuple[str | None, str | None]:
    if model is None:
        return None, None
    provider, slash, name = model.partition("/")
    if not slash or not provider or not name:
        raise ConfigurationError("--model: must be PROVIDER/MODEL")
    return provider, name


def _conversation_id(given: str | None) -> str | None:
    if given is None:
        return None
    normalized = normalize_conversation_id(given)
    if normalized is None:
        raise ConfigurationError("--conversation: is not a conversation id")
    return normalized
