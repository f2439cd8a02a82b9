"""The spans of a Turn, named by OpenTelemetry's conventions for generative AI."""

from lightspeed.telemetry.round_spans import RoundSpans
from lightspeed.telemetry.tracing import Span, Tracing, Value

AGENT = "lightspeed"
OUTCOME = "lightspeed.turn.outcome"


class TurnSpans:
    """A span for the Turn, and in it one for each step.

    What was asked, found and answered is kept only if the tracing `keeps_content`.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def turn(self, request_id: str, face: str) -> Span:
        """All of a Turn, from the question to its record."""
        return self._tracing.span(
            f"invoke_agent {AGENT}",
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": AGENT,
                "lightspeed.turn.id": request_id,
                "lightspeed.face": face,
            },
        )

    def retrieval(self, query: str) -> Span:
        """The search before the model is asked."""
        text: Value | None = query if self._tracing.keeps_content else None
        return self._tracing.span(
            "retrieval", {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.query.text": text}
        )

    def record(self) -> Span:
        """Keeping the Turn."""
        return self._tracing.span("record", {})

    def rounds(self, provider: str, model: str, conversation_id: str) -> RoundSpans:
        return RoundSpans(self._tracing, provider, model, conversation_id)

    def planned(self, span: Span, provider: str, model: str, conversation_id: str) -> None:
        """Tell what has been decided of the Turn."""
        span.set(
            {
                "gen_ai.provider.name": provider,
                "gen_ai.request.model": model,
                "gen_ai.conversation.id": conversation_id,
            }
        )

    def ended(self, span: Span, outcome: str, input_tokens: int, output_tokens: int) -> None:
        """Tell that it is `completed` or `interrupted`, and the tokens of all rounds."""
        span.set(
            {
                OUTCOME: outcome,
                "gen_ai.usage.input_tokens": input_tokens,
                "gen_ai.usage.output_tokens": output_tokens,
            }
        )

    def failed(self, span: Span, error: Exception) -> None:
        span.set({OUTCOME: "failed"})
        span.fail(type(error).__qualname__)
