"""The parts of the running service, put together."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from lightspeed.assistant.assistant import Assistant
from lightspeed.assistant.settings import (
    DEFAULT_SYSTEM_PROMPT,
    DEFAULT_TOPIC_SUMMARY_PROMPT,
    AssistantSettings,
)
from lightspeed.configuration.hints import hints
from lightspeed.configuration.loading import state_directory
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError
from lightspeed.stack.enrichment import enriched
from lightspeed.stack.environment import prepare_environment
from lightspeed.stack.models import Model
from lightspeed.stack.passages import EmbeddingModel
from lightspeed.stack.run_configuration import load_run_configuration
from lightspeed.telemetry.logging import ReclaimLogging
from lightspeed.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from lightspeed.assistant.interruption import Interruptions
    from lightspeed.assistant.recorder import Recorder
    from lightspeed.retrieval.opening import Knowledge
    from lightspeed.stack.client import EmbeddedStack
    from lightspeed.stack.files import Files
    from lightspeed.stack.vector_stores import VectorStores
    from lightspeed.storage.conversations import Conversations
    from lightspeed.storage.erasure import Erasure
    from lightspeed.storage.feedback import FeedbackStore
    from lightspeed.storage.ownership import Ownership
    from lightspeed.storage.store import Store
    from lightspeed.storage.switches import Switches

logger = logging.getLogger(__name__)

type Progress = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What the configuration files ask for, read and checked, before anything is started."""

    configuration: Configuration
    run_configuration: Mapping[str, Any]
    run_configuration_file: Path

    @property
    def configured_stores(self) -> frozenset[str]:
        """The ids of the vector stores that the configuration files name."""
        registered = (self.run_configuration.get("registered_resources") or {}).get("vector_stores") or ()
        return frozenset(str(store.get("vector_store_id")) for store in registered)


@dataclass(frozen=True)
class Services:
    """Everything that a request may need. Made by `start_services`, ended by `close`."""

    configuration: Configuration
    stack: "EmbeddedStack"
    store: "Store"
    recorder: "Recorder"
    assistant: Assistant
    interruptions: "Interruptions"
    background: Sequence[asyncio.Task[None]]
    vector_stores: "VectorStores"
    files: "Files"
    ownership: "Ownership"
    knowledge: "Knowledge"
    started_at: int  # seconds since 1970

    @property
    def conversations(self) -> "Conversations":
        return self.store.conversations

    @property
    def erasure(self) -> "Erasure":
        return self.store.erasure

    @property
    def switches(self) -> "Switches":
        return self.store.switches

    @property
    def feedback(self) -> "FeedbackStore | None":
        return self.store.feedback

    @property
    def history_configured(self) -> bool:
        """Whether version 2 of the conversation routes is switched on."""
        return self.configuration.conversation_cache.type is not None

    @property
    def history_kept(self) -> bool:
        return self.configuration.conversation_cache.type != "noop"

    async def impacts(self) -> list[tuple[str, str]]:
        """What is missing at this moment, as (component, message); questions are answered nevertheless."""
        found = [("database", trouble) for trouble in await self.store.trouble()]
        if waiting := self.recorder.waiting:
            found.append(("database", f"turns that wait to be recorded: {waiting}"))
        return [*found, *await self.knowledge.impacts()]

    async def close(self, grace: float = 30.0) -> None:
        """Let running Turns end, then stop the parts in reverse order."""
        await self.assistant.close(grace)
        for task in self.background:
            task.cancel()
        await asyncio.gather(*self.background, return_exceptions=True)
        await self.interruptions.close()
        await self.recorder.close()
        await self.knowledge.close()
        await self.stack.close()
        await self.store.close()


def read_plan(configuration: Configuration, source: Path, environment: Mapping[str, str]) -> Plan:
    """Read the run configuration that the service's configuration names. Raises ConfigurationError."""
    _refuse_unsupported(configuration, source)
    path = configuration.llama_stack.library_client_config_path
    if not path:
        raise ConfigurationError(f"{source}: llama_stack.library_client_config_path: is required")
    run_file = Path(path)
    run_configuration = enriched(
        load_run_configuration(run_file, environment),
        configuration.byok_rag,
        source,
        state_directory(environment),
        _portal_model(configuration, environment),
    )
    return Plan(configuration, run_configuration, run_file)


def _portal_model(configuration: Configuration, environment: Mapping[str, str]) -> EmbeddingModel | None:
    """The model by which the Offline Knowledge Portal is searched, if it is."""
    from lightspeed.retrieval.okp.settings import PortalSettings
    from lightspeed.retrieval.opening import uses_portal

    if not uses_portal(configuration):
        return None
    settings = PortalSettings.read(configuration.okp, environment)
    return EmbeddingModel(settings.embedding_model, settings.embedding_dimension)


def warnings(configuration: Configuration, stores: Sequence[str]) -> list[str]:
    """One line for each key that has no effect, or not the one that it seems to have."""
    later = {
        "a2a_state": configuration.a2a_state.sqlite is not None
        or configuration.a2a_state.postgres is not None,
        "rlsapi_v1": configuration.rlsapi_v1.allow_verbose_infer
        or configuration.rlsapi_v1.quota_subject is not None,
        "quota_handlers.enable_token_history": configuration.quota_handlers.enable_token_history,
    }
    unused = [f"{key}: has no effect in this version yet" for key, given in later.items() if given]
    if configuration.conversation_cache.type == "noop":
        unused.append(
            "conversation_cache.type: `noop` keeps no texts, so follow-up questions are answered without them"
        )
    return [*unused, *hints(configuration, stores)]


async def start_services(plan: Plan, metrics: Metrics, progress: Progress = lambda _: None) -> Services:
    """Start databases, stack and assistant. Raises StartupError or ConfigurationError."""
    async with AsyncExitStack() as opened:
        progress("opening the database")
        store = await _open_store(plan.configuration)
        opened.push_async_callback(store.close)
        stack = await start_stack(plan, progress)
        opened.push_async_callback(stack.close)
        services = await _assemble(plan, stack, store, metrics)
        opened.pop_all()
        return services


async def start_stack(plan: Plan, progress: Progress) -> "EmbeddedStack":
    """Import the stack in a thread and start it. Raises StartupError or ConfigurationError."""
    progress("loading the stack")
    await to_thread.run_sync(prepare_environment)
    reclaim_logging = ReclaimLogging()
    await to_thread.run_sync(import_module, "lightspeed.stack.client")
    from lightspeed.stack.client import EmbeddedStack

    stack = await EmbeddedStack.start(
        plan.run_configuration, source=str(plan.run_configuration_file), progress=progress
    )
    reclaim_logging()
    return stack


async def _open_store(configuration: Configuration) -> "Store":
    # In a thread, because it takes a while and the service already answers.
    await to_thread.run_sync(import_module, "lightspeed.storage.store")
    from lightspeed.storage.store import configured_store

    store = configured_store(configuration, state_directory(os.environ))
    await store.open()
    return store


async def _assemble(plan: Plan, stack: "EmbeddedStack", store: "Store", metrics: Metrics) -> Services:
    configuration = plan.configuration
    from lightspeed.assistant.interruption import Interruptions
    from lightspeed.assistant.recorder import Recorder
    from lightspeed.retrieval.opening import open_knowledge
    from lightspeed.stack.files import Files
    from lightspeed.stack.vector_stores import VectorStores
    from lightspeed.storage.ownership import Ownership

    models = await stack.models()
    _count_models(metrics, models, configuration)
    ownership = Ownership(store.databases[0])  # the main one
    knowledge = await open_knowledge(
        configuration, plan.configured_stores, stack.knowledge, models, ownership, os.environ
    )
    for line in warnings(configuration, await stack.knowledge.ids()):
        logger.warning("Configuration: %s", line)
    collection = configuration.user_data_collection
    recorder = Recorder(
        store.conversations,
        store.pending,
        store.transcripts if collection.transcripts_enabled else None,
        metrics,
    )
    assistant = Assistant(
        models=stack,
        knowledge=knowledge.search,
        conversations=store.conversations,
        recorder=recorder,
        metrics=metrics,
        settings=_assistant_settings(configuration),
    )
    interruptions = Interruptions(assistant, store.interrupts, shared=_is_shared(configuration))
    recorder.start()
    interruptions.start()
    background = [
        asyncio.create_task(work, name=name) for name, work in _background(configuration, store).items()
    ]
    return Services(
        configuration,
        stack,
        store,
        recorder,
        assistant,
        interruptions,
        background,
        vector_stores=VectorStores(stack.client.impls),
        files=Files(stack.client.impls),
        ownership=ownership,
        knowledge=knowledge,
        started_at=int(time.time()),
    )


def _is_shared(configuration: Configuration) -> bool:
    """Whether other processes may serve the same users from the same database."""
    return configuration.service.workers > 1 or configuration.database.postgres is not None


def _background(configuration: Configuration, store: "Store") -> dict[str, Coroutine[Any, Any, None]]:
    """What goes on beside the questions, by name."""
    from lightspeed.storage.collection.collector import Collector, collected_directories
    from lightspeed.storage.retention import Retention

    work: dict[str, Coroutine[Any, Any, None]] = {}
    if configuration.retention.given:
        work["retention"] = Retention(store.erasure, configuration.retention).run()
    collection = configuration.user_data_collection
    if collection.data_collector.enabled:
        state = state_directory(os.environ) / "collector"
        work["data collector"] = Collector(
            collection.data_collector, collected_directories(collection), state
        ).run()
    return work


def _refuse_unsupported(configuration: Configuration, source: Path) -> None:
    """What this version cannot do yet is refused by name, so that nothing is silently without effect."""
    refused = {
        "llama_stack.url": not configuration.llama_stack.use_as_library_client,
        "authentication.module": configuration.authentication.module != "noop",
        "authorization": configuration.authorization is not None,
        "mcp_servers": bool(configuration.mcp_servers),
        "quota_handlers.limiters": bool(configuration.quota_handlers.limiters),
        "splunk.enabled": configuration.splunk is not None and configuration.splunk.enabled,
        "azure_entra_id": configuration.azure_entra_id is not None,
        "compaction.enabled": configuration.compaction.enabled,
        "skills": configuration.skills is not None and bool(configuration.skills.paths),
    }
    problems = [
        f"{source}: {key}: is not supported by this version yet" for key, given in refused.items() if given
    ]
    if problems:
        raise ConfigurationError(problems)


def _count_models(metrics: Metrics, models: Sequence[Model], configuration: Configuration) -> None:
    default = configuration.inference
    metrics.models(
        {(model.provider_id, model.name) for model in models if model.model_type == "llm"},
        (default.default_provider, default.default_model)
        if default.default_provider and default.default_model
        else None,
    )


def _assistant_settings(configuration: Configuration) -> AssistantSettings:
    customization, inference = configuration.customization, configuration.inference
    prompt = topic = None
    if customization is not None:
        profile = customization.custom_profile.prompts if customization.custom_profile else {}
        prompt = profile.get("default") or customization.system_prompt
        topic = profile.get("topic_summary")
    limits = configuration.service.limits
    return AssistantSettings(
        default_provider=inference.default_provider,
        default_model=inference.default_model,
        system_prompt=prompt or DEFAULT_SYSTEM_PROMPT,
        topic_summary_prompt=topic or DEFAULT_TOPIC_SUMMARY_PROMPT,
        request_may_set_system_prompt=not (customization and customization.disable_query_system_prompt),
        context_windows=inference.context_windows,
        max_tool_rounds=limits.max_tool_rounds,
        turn_timeout=float(limits.turn_timeout_seconds),
    )
