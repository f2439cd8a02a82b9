"""`lightspeed serve`."""

import os
from functools import partial
from pathlib import Path

from lightspeed.commands.tls import tls_problems
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError
from lightspeed.plan import read_plan
from lightspeed.server import serve
from lightspeed.workers import supervise


def serve_command(configuration: Configuration, source: Path, *, host: str | None, port: int | None) -> int:
    """Serve until a signal comes. `host` and `port` replace what the configuration says. Raises ConfigurationError."""
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if changes:
        service = configuration.service.model_copy(update=changes)
        configuration = configuration.model_copy(update={"service": service})
    if problems := [f"{source}: {problem}" for problem in tls_problems(configuration.service.tls_config)]:
        raise ConfigurationError(problems)
    plan, announce = read_plan(configuration, source, os.environ), partial(_announcement, configuration)
    return supervise(plan, announce) if configuration.service.workers > 1 else serve(plan, announce)


def _announcement(configuration: Configuration, host: str, port: int) -> str:
    service = configuration.service
    scheme = "https" if service.tls_config.tls_certificate_path else "http"
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    shown = f"[{host}]" if ":" in host else host
    address = f"{scheme}://{shown}:{port}{service.root_path}"
    return (
        f"{configuration.name} listens on {address}\n"
        f"Page:    {address}/docs\n"
        f"Try it:  curl -s {address}/v1/query -H 'Content-Type: application/json' "
        """-d '{"query": "How do I add my own documents?"}'"""
    )
