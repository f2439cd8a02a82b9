"""The three servers of the benchmark as child processes: scripted model, floor, and our service."""

import string
from pathlib import Path
from typing import Any

import yaml

from tests.bench.process import Child, free_port

_CONFIG = Path(__file__).parent / "config"
_DEFAULT_CONFIG = Path(__file__).resolve().parents[2] / "config"

# The default configuration uses OpenAI where it finds a key; the benchmark measures what needs none.
_NO_KEYS = {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}


def scripted_model(folder: Path) -> Child:
    port = free_port()
    arguments = ["tests.scripted_model", "--port", str(port)]
    return Child("scripted model", arguments, port=port, log=folder / "scripted.log", environment={})


def floor(folder: Path, upstream: str) -> Child:
    port = free_port()
    arguments = ["tests.bench.floor", "--port", str(port), "--upstream", upstream]
    return Child("floor", arguments, port=port, log=folder / "floor.log", environment={})


def remote_service(folder: Path, upstream: str, workers: int = 1, **sections: Any) -> Child:
    """Our service with the scripted model as its only provider; `folder` is empty and becomes its state.

    `sections` replace those of its configuration.
    """
    port = free_port()
    values = {
        "port": port,
        "workers": workers,
        "state": folder / "state",
        "folder": folder,
        "upstream": upstream,
    }
    for name in ("lightspeed-stack.yaml", "run.yaml"):
        template = string.Template((_CONFIG / name).read_text())
        (folder / name).write_text(template.substitute(values))
    if sections:
        file = folder / "lightspeed-stack.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | sections))
    return _service("service, remote provider", folder, port)


def default_service(folder: Path) -> Child:
    """Our service with the default configuration: local model, embeddings and knowledge."""
    port = free_port()
    configuration = yaml.safe_load((_DEFAULT_CONFIG / "lightspeed-stack.yaml").read_text())
    configuration["service"]["port"] = port
    configuration["llama_stack"]["library_client_config_path"] = str(_DEFAULT_CONFIG / "run.yaml")
    (folder / "lightspeed-stack.yaml").write_text(yaml.safe_dump(configuration))
    return _service("service, default configuration", folder, port)


def _service(name: str, folder: Path, port: int) -> Child:
    (folder / "state").mkdir(parents=True)
    environment = {**_NO_KEYS, "LIGHTSPEED_STATE": str(folder / "state")}
    arguments = ["lightspeed", "serve", "-c", str(folder / "lightspeed-stack.yaml")]
    return Child(name, arguments, port=port, log=folder / "service.log", environment=environment)
