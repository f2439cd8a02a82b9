"""Logs: one format on standard error for the service, its server and every library."""

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO, override

from lightspeed.telemetry.redaction import redact
from lightspeed.telemetry.request_id import NO_REQUEST, current_request_id
from lightspeed.telemetry.trace_id import current_trace_id

LEVEL_VARIABLE = "LIGHTSPEED_STACK_LOG_LEVEL"
FORMAT_VARIABLE = "LIGHTSPEED_STACK_LOG_FORMAT"
PLAIN_VARIABLES = ("LIGHTSPEED_STACK_DISABLE_RICH_HANDLER", "NO_COLOR")
STACK_LEVELS_VARIABLE = "LLAMA_STACK_LOGGING"

FORMATS = ("text", "json")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
OWN_LOGGERS = ("lightspeed", "uvicorn")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_COLOURS = {"DEBUG": "\x1b[2m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[1;31m"}
_RESET = "\x1b[0m"


def configure_logging(
    level: str | None = None,
    *,
    verbose: bool = False,
    color: bool | None = None,
    log_format: str = "text",
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Give every logger of the process one handler.

    `level` is for the service and its server, else the environment says it, else INFO; libraries log
    warnings only. `verbose` means DEBUG for all. `color` None means colour on a terminal only. `log_format` is `text`
    or `json`, unless the environment says it.
    """
    stream = stream or sys.stderr
    wanted = (level or environ.get(LEVEL_VARIABLE) or "INFO").strip().upper()
    known = wanted if wanted in LEVELS else "INFO"
    plain = any(name in environ for name in PLAIN_VARIABLES)
    if color is None:
        color = stream.isatty()
    handler = logging.StreamHandler(stream)
    wanted_format = environ.get(FORMAT_VARIABLE, "").strip().lower() or log_format
    if (wanted_format if wanted_format in FORMATS else log_format) == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter(color=color and stream.isatty() and not plain))
    _install(handler, logging.DEBUG if verbose else logging.getLevelNamesMapping()[known], verbose=verbose)
    logging.captureWarnings(True)
    if known != wanted:
        logging.getLogger(__name__).warning("Unknown log level %r, using INFO", wanted)
    if wanted_format not in FORMATS:
        logging.getLogger(__name__).warning("Unknown log format %r, using %s", wanted_format, log_format)


class ReclaimLogging:
    """Puts the handler and the levels back after a library has installed its own.

    Made before the library starts, called after it. Llama Stack replaces all handlers and sets the
    level of every logger when its client is made.
    """

    def __init__(self) -> None:
        self._handlers = list(logging.getLogger().handlers)
        self._levels = {name: logging.getLogger(name).level for name in ("", *OWN_LOGGERS)}

    def __call__(self, environ: Mapping[str, str] = os.environ) -> None:
        """The stack's own levels stay if LLAMA_STACK_LOGGING names them."""
        _strip(keep_levels=STACK_LEVELS_VARIABLE in environ)
        root = logging.getLogger()
        for handler in self._handlers:
            root.addHandler(handler)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        _silence_access_log()


def _install(handler: logging.Handler, level: int, *, verbose: bool) -> None:
    _strip(keep_levels=False)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level if verbose else max(level, logging.WARNING))
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(level)
    _silence_access_log()


def _strip(*, keep_levels: bool) -> None:
    """No logger has a handler or, unless told, a level."""
    loggers = [
        found for found in logging.root.manager.loggerDict.values() if isinstance(found, logging.Logger)
    ]
    for logger in (logging.getLogger(), *loggers):
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
    for logger in loggers:
        logger.propagate = True
        logger.disabled = False
        if not keep_levels or logger.name.split(".")[0] in OWN_LOGGERS:
            logger.setLevel(logging.NOTSET)


def _silence_access_log() -> None:
    """The service writes its own line for each request, without the query string."""
    logging.getLogger("uvicorn.access").setLevel(logging.CRITICAL + 1)


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,123 INFO     module:12 [request id] message`; more lines are indented."""

    def __init__(self, *, color: bool = False) -> None:
        super().__init__()
        self._color = color

    @override
    def format(self, record: logging.LogRecord) -> str:
        message, error = _content(record)
        head = f"{self.formatTime(record)} {record.levelname:<8} {record.name}:{record.lineno}"
        text = f"{head} [{current_request_id.get()}] {redact(_harmless(message))}"
        if error:
            text = f"{text}\n{redact(_harmless(error))}"
        text = text.replace("\n", "\n    ")
        colour = _COLOURS.get(record.levelname) if self._color else None
        return f"{colour}{text}{_RESET}" if colour else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, line, request_id, trace_id, message and, if any, exception.

    The ids are null outside of a request, and `trace_id` without traces.
    """

    @override
    def format(self, record: logging.LogRecord) -> str:
        message, error = _content(record)
        request_id = current_request_id.get()
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "line": record.lineno,
            "request_id": None if request_id == NO_REQUEST else request_id,
            "trace_id": current_trace_id.get(),
            "message": redact(message),
        }
        if error:
            entry["exception"] = redact(error)
        return json.dumps(entry)


def _content(record: logging.LogRecord) -> tuple[str, str]:
    """The message and the traceback, the latter maybe empty. The stack's loggers pass a dict as message."""
    error = record.exc_info
    if isinstance(record.msg, dict) and "event" in record.msg:
        message, cause = _structured(record.msg)
        error = error or cause
    else:
        message = record.getMessage()
    parts = []
    if error and error[0] is not None:
        parts.append(logging.Formatter().formatException(error))
    if record.stack_info:
        parts.append(record.stack_info)
    return message, "\n".join(parts)


def _structured(event: Mapping[str, Any]) -> tuple[str, Any]:
    hidden = {
        "event",
        "exc_info",
        "stack_info",
        "logger",
        "level",
        "timestamp",
        "category",
        "positional_args",
    }
    extras = " ".join(f"{key}={value}" for key, value in event.items() if key not in hidden and key[0] != "_")
    message = str(event["event"])
    if values := event.get("positional_args"):
        message = message % tuple(values)
    cause = event.get("exc_info")
    if isinstance(cause, BaseException):
        cause = (type(cause), cause, cause.__traceback__)
    elif cause and not isinstance(cause, tuple):
        cause = sys.exc_info()
    return f"{message} {extras}".rstrip(), cause or None


def _harmless(text: str) -> str:
    """Control characters, which can forge or hide lines, as escapes."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
