"""`lightspeed ask`: a Turn in this process, told to a terminal."""

import os
import sys
from pathlib import Path
from uuid import uuid4

import anyio
from rich.console import Console
from rich.text import Text

from lightspeed.assistant.events import Completed, Failed, Interrupted, Started, Token, ToolCall, ToolResult
from lightspeed.assistant.request import TurnRequest
from lightspeed.assistant.turn import Turn
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError
from lightspeed.identity.authentication import DEFAULT_USER_ID
from lightspeed.services import Plan, Services, read_plan, start_services
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
    turn = services.assistant.start(request)
    try:
        return await _tell(turn, notes)
    except BaseException:
        turn.interrupt()
        raise
    finally:
        await services.close(grace=5)


async def _start(plan: Plan, notes: Console) -> Services:
    with notes.status("starting") as status:
        return await start_services(plan, Metrics(), status.update)


async def _tell(turn: Turn, notes: Console) -> int:
    conversation_id = ""
    async for event in turn.events():
        match event:
            case Started():
                conversation_id = event.conversation_id
            case Token():
                sys.stdout.write(event.text)
                sys.stdout.flush()
            case ToolCall():
                notes.print(Text(f"[{event.name}]", style="dim"))
            case ToolResult():
                pass
            case Failed():
                notes.print(Text(f"lightspeed: {event.error.response}: {event.error.cause}", style="red"))
                return 1
            case Interrupted():
                return 1
            case Completed():
                _tell_sources(event, conversation_id, notes)
    return 0


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
