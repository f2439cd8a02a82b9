"""The id of the trace to which the request belongs that is being served, for the log."""

from contextvars import ContextVar

current_trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
"""32 hexadecimal digits; None without traces."""
