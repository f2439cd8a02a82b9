import io
import json
import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from lightspeed.telemetry.logging import ReclaimLogging, configure_logging
from lightspeed.telemetry.request_id import current_request_id
from lightspeed.telemetry.trace_id import current_trace_id


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    loggers = {
        None: root,
        **{name: logging.getLogger(name) for name in list(logging.root.manager.loggerDict)},
    }
    before = {
        name: (found.level, list(found.handlers), found.propagate, found.disabled)
        for name, found in loggers.items()
    }
    show = warnings.showwarning
    yield
    logging.captureWarnings(False)
    warnings.showwarning = show
    for name, (level, handlers, propagate, disabled) in before.items():
        logger = loggers[name]
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate, logger.disabled = propagate, disabled
    for name in ("lightspeed", "uvicorn", "uvicorn.access"):
        if name not in before:
            logging.getLogger(name).setLevel(logging.NOTSET)


def logged(level: str | None = None, *, stream: io.StringIO | None = None, **settings: object) -> io.StringIO:
    stream = stream or io.StringIO()
    configure_logging(level, stream=stream, **({"environ": {}} | settings))  # type: ignore[arg-type]
    return stream


def test_a_line() -> None:
    out = logged()
    token = current_request_id.set("id-1")
    logging.getLogger("lightspeed.assistant").info("asked %s", "twice")
    current_request_id.reset(token)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO     lightspeed.assistant:\d+ \[id-1\] asked twice\n",
        out.getvalue(),
    )


def test_libraries_only_warn() -> None:
    out = logged()
    logging.getLogger("httpx").info("quiet")
    logging.getLogger("httpx").warning("loud")
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("lightspeed.x").debug("quiet")
    messages = [line.rsplit("] ")[1] for line in out.getvalue().splitlines()]
    assert messages == ["loud", "started"]


def test_verbose_means_everything() -> None:
    out = logged(verbose=True)
    logging.getLogger("sqlalchemy.engine").debug("SELECT 1")
    assert "SELECT 1" in out.getvalue()


@pytest.mark.parametrize(
    ("named", "level"), [("debug", logging.DEBUG), ("ERROR", logging.ERROR), ("", logging.INFO)]
)
def test_level_from_the_environment(named: str, level: int) -> None:
    out = logged(environ={"LIGHTSPEED_STACK_LOG_LEVEL": named})
    assert logging.getLogger("lightspeed").level == level
    assert out.getvalue() == ""


def test_unknown_level_is_a_warning() -> None:
    out = logged(environ={"LIGHTSPEED_STACK_LOG_LEVEL": "LOUD"})
    assert logging.getLogger("lightspeed").level == logging.INFO
    assert "WARNING" in out.getvalue()
    assert "'LOUD'" in out.getvalue()


def test_uvicorn_has_no_format_and_no_access_line_of_its_own() -> None:
    uvicorn = logging.getLogger("uvicorn")
    uvicorn.addHandler(logging.StreamHandler(io.StringIO()))
    uvicorn.propagate = False
    out = logged()
    logging.getLogger("uvicorn.error").info("one")
    logging.getLogger("uvicorn.access").info("GET /?user_id=alice")
    assert out.getvalue().count("\n") == 1
    assert not uvicorn.handlers


def test_colour_only_on_a_terminal_that_wants_it() -> None:
    def written(stream: io.StringIO, **settings: object) -> str:
        logged(stream=stream, **settings)
        logging.getLogger("lightspeed").warning("careful")
        return stream.getvalue()

    assert "\x1b[33m" in written(Terminal())
    assert "\x1b" not in written(io.StringIO(), color=True)
    assert "\x1b" not in written(Terminal(), color=False)
    assert "\x1b" not in written(Terminal(), environ={"NO_COLOR": "1"})
    assert "\x1b" not in written(Terminal(), environ={"LIGHTSPEED_STACK_DISABLE_RICH_HANDLER": ""})


def test_a_message_cannot_forge_lines_or_colours() -> None:
    out = logged()
    logging.getLogger("lightspeed").warning("x\n2026-01-01 fake\r\x1b[31m\u2028")
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1] == r"    2026-01-01 fake\r\x1b[31m\u2028"


def test_tracebacks_are_redacted_too() -> None:
    out = logged()
    try:
        raise ValueError("connect to postgresql://user:hunter2@db failed")
    except ValueError:
        logging.getLogger("lightspeed").exception("api_key=%s", "hunter2")
    assert "hunter2" not in out.getvalue()
    assert "    ValueError: connect to postgresql://" in out.getvalue()


def test_json_lines() -> None:
    out = logged(environ={"LIGHTSPEED_STACK_LOG_FORMAT": "json"})
    request, trace = current_request_id.set("id-1"), current_trace_id.set("4bf92f3577b34da6a3ce929d0e0e4736")
    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("lightspeed.x").exception("password=hunter2")
    current_request_id.reset(request)
    current_trace_id.reset(trace)
    logging.getLogger("uvicorn.error").info("started")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["level"], first["logger"], first["request_id"]) == ("ERROR", "lightspeed.x", "id-1")
    assert first["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert first["message"] == "password=**********"
    assert first["exception"].endswith("ValueError: a\nb")
    assert datetime.fromisoformat(first["time"]).utcoffset() == timedelta(0)
    assert (second["message"], second["request_id"], second["trace_id"]) == ("started", None, None)
    assert "exception" not in second


@pytest.mark.parametrize(
    ("configured", "variable", "used"),
    [
        ("json", "", "json"),
        ("json", "text", "text"),
        ("text", "JSON ", "json"),
        ("text", "", "text"),
        ("json", "xml", "json"),
    ],
)
def test_the_format_is_configured_and_the_environment_wins(configured: str, variable: str, used: str) -> None:
    out = logged(log_format=configured, environ={"LIGHTSPEED_STACK_LOG_FORMAT": variable})
    logging.getLogger("lightspeed").info("one")
    lines = out.getvalue().splitlines()
    assert lines[-1].startswith("{") is (used == "json")
    assert ("Unknown log format 'xml'" in lines[0]) is (variable == "xml")


def test_warnings_are_logged() -> None:
    out = logged()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    assert "old thing" in out.getvalue()


def test_what_a_library_installs_is_taken_back() -> None:
    out = logged()
    reclaim = ReclaimLogging()
    other = io.StringIO()
    logging.basicConfig(stream=other, level=logging.ERROR, force=True)
    for name in ("lightspeed", "lightspeed.api", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    core = logging.getLogger("core")
    core.addHandler(logging.StreamHandler(other))
    core.propagate = False
    reclaim({})
    logging.getLogger("lightspeed.api").info("one")
    logging.getLogger("uvicorn.error").info("two")
    core.warning("three")
    assert other.getvalue() == ""
    assert [line.rsplit("] ")[1] for line in out.getvalue().splitlines()] == ["one", "two", "three"]


def test_levels_that_the_user_gave_the_stack_stay() -> None:
    logged()
    reclaim = ReclaimLogging()
    logging.getLogger("llama_stack.core").setLevel(logging.DEBUG)
    logging.getLogger("lightspeed.api").setLevel(logging.ERROR)
    reclaim({"LLAMA_STACK_LOGGING": "core=debug"})
    assert logging.getLogger("llama_stack.core").level == logging.DEBUG
    assert logging.getLogger("lightspeed.api").level == logging.NOTSET


STACK = """
import logging
from lightspeed.telemetry.logging import ReclaimLogging, configure_logging
configure_logging()
reclaim = ReclaimLogging()
from llama_stack.log import get_logger, setup_logging
log = get_logger("llama_stack.core.part", category="core")
setup_logging()
reclaim()
logging.getLogger("lightspeed.api").info("ours")
logging.getLogger("uvicorn.error").info("server")
log.warning("theirs %s", "now", key="value")
try:
    raise ValueError("api_key=hunter2")
except ValueError:
    log.exception("failed")
"""


def test_the_stack_keeps_the_one_format() -> None:
    done = subprocess.run([sys.executable, "-c", STACK], capture_output=True, text=True, check=True)
    lines = [re.sub(r"^\S+ \S+ ", "", line) for line in done.stderr.splitlines()]
    assert done.stdout == ""
    assert [re.sub(r":\d+ \[", " [", line) for line in lines[:4]] == [
        "INFO     lightspeed.api [-] ours",
        "INFO     uvicorn.error [-] server",
        "WARNING  llama_stack.core.part [-] theirs now key=value",
        "ERROR    llama_stack.core.part [-] failed",
    ]
    assert done.stderr.endswith("    ValueError: api_key=**********\n")
