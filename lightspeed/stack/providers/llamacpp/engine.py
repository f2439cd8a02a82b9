"""llama.cpp with one loaded model, and the threads that wait for its answers."""

import asyncio
import json
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import xllamacpp

from lightspeed.errors import StartupError
from lightspeed.stack.cores import usable_cores
from lightspeed.stack.providers.llamacpp.config import LlamaCppConfig
from lightspeed.stack.providers.llamacpp.errors import engine_error
from lightspeed.stack.providers.llamacpp.generation import Generation
from lightspeed.stack.providers.llamacpp.gguf import GGUFHeader
from lightspeed.stack.providers.llamacpp.listener import unreachable_address

SILENT = -1
READ_AHEAD = 1 << 24

type Kind = Literal["chat", "completion"]

WARM_UP: tuple[tuple[Kind, bytes], ...] = (
    ("completion", b'{"prompt": "Hi", "max_tokens": 1, "stream": true}'),
    ("chat", b'{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "stream": true}'),
)


class Engine:
    """A loaded model that generates up to `parallel` answers at once, the rest in the order of arrival.

    Each running generation holds one thread of the engine's own pool, which only waits; the computing threads
    belong to llama.cpp. Made by `Engine.load`, freed by `close`; both block and belong in a worker thread.
    """

    def __init__(self, server: Any, parallel: int, context_size: int) -> None:
        self.context_size = context_size
        self._server = server
        self._closing = False
        self._threads = ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="llamacpp")

    @classmethod
    def load(
        cls, config: LlamaCppConfig, header: GGUFHeader, *, model_id: str, chat_template: str | None = None
    ) -> "Engine":
        """Loads the model and answers once, so that the first request is not slow. Raises StartupError."""
        context_size = min(config.context_size, header.context_length or config.context_size)
        _read_ahead(header.path)
        with unreachable_address() as address:
            parameters = _parameters(config, header.path, context_size, model_id, address)
            parameters.chat_template = chat_template or ""
            try:
                server = xllamacpp.Server(parameters)
            except (RuntimeError, ValueError, MemoryError) as error:
                raise StartupError(
                    f"llama.cpp cannot load {header.path}: the file is damaged, its architecture"
                    f" '{header.architecture}' is unknown to it, its chat template is wrong, or memory is short"
                ) from error
        engine = cls(server, config.parallel, context_size)
        engine._warm_up(header.path)
        return engine

    def start(self, kind: Kind, body: bytes) -> Generation:
        """Queues a request, the JSON body of the OpenAI protocol, and returns at once."""
        generation = Generation(asyncio.get_running_loop())
        self._threads.submit(self._run, kind, body, generation)
        return generation

    def close(self) -> None:
        """Stops what runs, ends the threads, frees the model."""
        self._closing = True
        self._threads.shutdown(wait=True)
        self._server = None

    def _run(self, kind: Kind, body: bytes, generation: Generation) -> None:
        error: Exception | None = None
        try:
            if not (generation.cancelled or self._closing):
                error = self._generate(kind, body, generation.push)
            if self._closing:
                error = error or RuntimeError("The model is being unloaded")
        except (ValueError, RuntimeError) as failure:
            error = failure
        finally:
            generation.finish(error)

    def _generate(self, kind: Kind, body: bytes, push: Callable[[bytes], bool]) -> Exception | None:
        reports: list[bytes] = []

        def receive(chunk: bytes) -> bool:
            if chunk.startswith(b'{"error"'):
                reports.append(chunk)
                return True
            return push(chunk) or self._closing

        server = self._server
        handle = server.handle_chat_completions if kind == "chat" else server.handle_completions
        handle(body, receive)
        return engine_error(json.loads(reports[0])["error"], self.context_size) if reports else None

    def _warm_up(self, path: Path) -> None:
        # More than a courtesy: llama.cpp waits for ever when it is freed before its loop has answered once.
        error: Exception | None = None
        for kind, body in WARM_UP:
            try:
                error = self._generate(kind, body, lambda chunk: False)
            except (ValueError, RuntimeError) as failure:
                error = failure
        if error is not None:
            self.close()
            raise StartupError(
                f"llama.cpp cannot answer with {path}: {' '.join(str(error).split())}"
            ) from error


def _parameters(
    config: LlamaCppConfig, path: Path, context_size: int, model_id: str, address: str
) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.verbosity = SILENT
    parameters.model.path = str(path)
    parameters.model_alias = {model_id}
    parameters.n_ctx = context_size * config.parallel
    parameters.n_parallel = config.parallel
    parameters.n_batch = config.batch_size
    parameters.n_ubatch = config.batch_size
    parameters.n_gpu_layers = config.gpu_layers
    parameters.fit_params = False
    parameters.cache_ram_mib = config.prompt_cache_mib
    parameters.sampling.temp = config.temperature
    parameters.sampling.penalty_freq = config.frequency_penalty
    # The sampler DRY, set so that it hinders whole sentences that come again, and not words or names.
    parameters.sampling.dry_multiplier = config.loop_penalty
    parameters.sampling.dry_allowed_length = 12
    parameters.sampling.dry_penalty_last_n = 256
    threads = config.threads or usable_cores()
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    # The engine holds Python's lock while it loads; warming up is done afterwards, without it.
    parameters.warmup = False
    _shut_the_door(parameters, address)
    return parameters


def _shut_the_door(parameters: xllamacpp.CommonParams, address: str) -> None:
    parameters.hostnames = [address]
    parameters.n_threads_http = 1
    parameters.api_keys = [secrets.token_urlsafe(32)]
    parameters.cors_origins = ""
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.endpoint_props = False
    parameters.endpoint_metrics = False


def _read_ahead(path: Path) -> None:
    # Python's lock is free while this reads the disk, and held while the engine does.
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(READ_AHEAD)
        while file.readinto(buffer):
            pass
