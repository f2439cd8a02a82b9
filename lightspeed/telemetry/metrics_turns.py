"""What is counted of Turns."""

from enum import StrEnum
from typing import Literal

from lightspeed.telemetry.metrics_families import SHORT, Families

_MODEL = ("provider", "model", "endpoint")
_FIRST_TOKEN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_RATES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)  # tokens a second

type Phase = Literal["retrieve", "generate", "record"]
type Outcome = Literal["completed", "failed", "interrupted", "paused"]


class Face(StrEnum):
    """The endpoints that ask a model."""

    INFER = "/v1/infer"
    QUERY = "/v1/query"
    STREAMING_QUERY = "/v1/streaming_query"
    RESPONSES = "/v1/responses"
    A2A = "/a2a"


class TurnMetrics:
    """Turns by the endpoint through which they were asked. Durations are in seconds."""

    def __init__(self, families: Families) -> None:
        self._running = families.gauge(
            "lightspeed_turns_running", "Turns that run now.", "endpoint", over_processes="livesum"
        )
        self._ended = families.counter(
            "lightspeed_turns_total", "Turns that have ended, by what became of them.", "endpoint", "outcome"
        )
        self._phases = families.histogram(
            "lightspeed_turn_phase_duration_seconds",
            "Time that a part of a turn took: retrieve, generate, record.",
            "endpoint",
            "phase",
            bounds=SHORT,
        )
        self._first_token = families.histogram(
            "lightspeed_time_to_first_token_seconds",
            "Time from the question to the first text of a streamed answer.",
            *_MODEL,
            bounds=_FIRST_TOKEN,
        )
        self._rates = families.histogram(
            "lightspeed_tokens_per_second",
            "Tokens of a streamed answer by the time from its first text to its end, for turns without tools.",
            *_MODEL,
            bounds=_RATES,
        )
        self._tools = families.counter(
            "lightspeed_tool_calls_total", "Calls of tools by the model.", "tool", "result"
        )
        self._tool_durations = families.histogram(
            "lightspeed_tool_call_duration_seconds",
            "Time that a call of a tool took.",
            "tool",
            bounds=SHORT,
        )
        self._waiting = families.single_gauge(
            "lightspeed_turns_waiting", "Turns that wait to be recorded.", over_processes="livemax"
        )
        for face in Face:
            self._running[face,].set(0)

    def began(self, face: Face) -> None:
        self._running[face,].inc()

    def ended(self, face: Face, outcome: Outcome) -> None:
        """To be called once for each turn that began."""
        self._running[face,].dec()
        self._ended[face, outcome].inc()

    def phase(self, face: Face, phase: Phase, duration: float) -> None:
        self._phases[face, phase].observe(duration)

    def first_token(self, provider: str, model: str, face: Face, seconds: float) -> None:
        self._first_token[provider, model, face].observe(seconds)

    def token_rate(self, provider: str, model: str, face: Face, rate: float) -> None:
        """`rate` is in tokens a second."""
        self._rates[provider, model, face].observe(rate)

    def tool_call(self, kind: str, status: str, duration: float) -> None:
        """One call of a tool. `kind` is the type of its item in an answer, such as `file_search_call`."""
        tool = kind.removesuffix("_call")
        self._tools[tool, "failure" if status == "failure" else "success"].inc()
        self._tool_durations[tool,].observe(duration)

    def waiting(self, count: int) -> None:
        """How many turns wait to be recorded, as far as this process knows."""
        self._waiting.set(count)
