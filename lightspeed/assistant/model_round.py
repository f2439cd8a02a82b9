"""One call of a model."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Protocol

from lightspeed.assistant.events import Usage
from lightspeed.stack.chat import ChatPiece, ChatRequest
from lightspeed.stack.tokens import estimated_tokens
from lightspeed.telemetry.round_spans import ChatSpan

_LARGEST_COUNT = 100_000_000  # tokens; what is above is an error of the provider


class ChatModel(Protocol):
    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatPiece]: ...


class CallParts:
    """A tool call as it grows from its pieces."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class ModelRound:
    """What a model was sent, and what it has said so far: pieces of text, tool calls by index."""

    def __init__(self, request: ChatRequest) -> None:
        self.request = request
        self.text: list[str] = []
        self.calls: dict[int, CallParts] = {}
        self._sent = False
        self._input_tokens: int | None = None
        self._output_tokens: int | None = None
        self._finish_reason: str | None = None

    @contextmanager
    def traced(self, span: ChatSpan) -> Iterator[None]:
        """Ends the span with what has been said until then."""
        try:
            yield
        except Exception as error:
            span.fail(error)
            raise
        finally:
            span.answered(
                finish_reason=self._finish_reason,
                input_tokens=self._input_tokens,
                output_tokens=self._output_tokens,
                text=self.text,
                calls=[(call.id, call.name, call.arguments) for call in self.calls.values()],
            )
            span.end()

    async def ask(self, model: ChatModel) -> AsyncGenerator[ChatPiece]:
        """The pieces of the answer, still to be added here. Raises the RequestError of a failed call."""
        self._sent = True
        try:
            return await model.chat(self.request)
        except Exception:
            # Refused, and so not charged.
            self._sent = False
            raise

    def take(self, piece: ChatPiece) -> None:
        """Add all of a piece but its text."""
        for part in piece.tool_calls:
            index = part.index
            known = self.calls.get(index)
            if known is not None and part.id and known.id and part.id != known.id:
                # Some servers number all calls alike and tell them apart by their ids only.
                index = next(
                    (i for i, other in self.calls.items() if other.id == part.id), max(self.calls) + 1
                )
            call = self.calls.setdefault(index, CallParts())
            call.id = call.id or part.id or ""
            call.name = call.name or part.name or ""
            call.arguments.append(part.arguments)
        self._finish_reason = piece.finish_reason or self._finish_reason
        if piece.input_tokens is not None:
            self._input_tokens, self._output_tokens = _count(piece.input_tokens), _count(piece.output_tokens)

    async def usage(self) -> Usage:
        """Tokens as the provider has counted them; where it has not, estimated from what was sent and received."""
        if not self._sent:
            return Usage()
        sent, received = self._input_tokens, self._output_tokens
        if sent is None or received is None:
            estimate = await estimated_tokens(self.request, self._received())
            sent = estimate[0] if sent is None else sent
            received = estimate[1] if received is None else received
        return Usage(sent, received)

    def _received(self) -> str:
        calls = ("".join((call.name, *call.arguments)) for call in self.calls.values())
        return "".join((*self.text, *calls))


def _count(tokens: object) -> int | None:
    return tokens if isinstance(tokens, int) and 0 <= tokens <= _LARGEST_COUNT else None
