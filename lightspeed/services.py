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
from lightspeed.assistant.availability import Availability, availability
from lightspeed.assistant.model_choice import choose_model
from lightspeed.assistant.settings import (
    DEFAULT_SYSTEM_PROMPT,
    DEFAULT_TOPIC_SUMMARY_PROMPT,
    AssistantSettings,
)
from lightspeed.configuration.hints import hints
from lightspeed.configuration.loading import state_directory
from lightspeed.configuration.rag import OKP
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError, RequestError
from lightspeed.stack.enrichment import enriched
from lightspeed.stack.environment import prepare_environment
from lightspeed.stack.models import Model
from lightspeed.stack.passages import EmbeddingModel
from lightspeed.stack.run_file.checking import default_model_warnings, reference_problems
from lightspeed.stack.run_file.reading import read_run_configuration
from lightspeed.stack.run_file.stores import impossible_stores
from lightspeed.telemetry.logging import ReclaimLogging
from lightspeed.telemetry.metrics import Metrics
from lightspeed.telemetry.pulse import Pulse
from lightspeed.telemetry.tracing import NO_TRACES, Tracing

if TYPE_CHECKING:
    from lightspeed.assistant.interruption import Interruptions
    from lightspeed.assistant.recorder import Recorder
    from lightspeed.retrieval.opening import Knowledge
    from lightspeed.stack.stack import Files, Stack, VectorStores
    from lightspeed.storage.conversations import Conversations
    from lightspeed.storage.erasure import Erasure
    from lightspeed.storage.feedback import FeedbackStore
    from lightspeed.storage.ownership import Ownership
    from lightspeed.storage.store import Store
    from lightspeed.storage.switches import Switches
    from lightspeed.telemetry.splunk import SplunkSink

logger = logging.getLogger(__name__)

type Progress = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What the configuration files ask for, read and checked, before anything is started."""

    configuration: Configuration
    run_configuration: Mapping[str, Any]
    run_configuration_file: Path
    notices: Sequence[str] = ()  # what an older run.yaml says otherwise
    doubts: Sequence[str] = ()  # what starts, but cannot work

    @property
    def configured_stores(self) -> frozenset[str]:
        """The ids of the vector stores that the configuration files name."""
        registered = (self.run_configuration.get("registered_resources") or {}).get("vector_stores") or ()
        stores = {str(store.get("vector_store_id")) for store in registered}
        if self.uses_server:
            rag, byok = self.configuration.rag, self.configuration.byok_rag
            stores |= {store.vector_db_id for store in byok}
            stores |= {*rag.inline, *rag.tool} - {OKP, *(store.rag_id for store in byok)}
        return frozenset(stores)

    @property
    def uses_server(self) -> bool:
        """Whether the stack is a server of its own; then there is no run configuration here."""
        return not self.configuration.llama_stack.use_as_library_client


@dataclass(frozen=True)
class Services:
    """Everything that a request may need. Made by `start_services`, ended by `close`."""

    configuration: Configuration
    stack: "Stack"
    store: "Store"
    recorder: "Recorder"
    assistant: Assistant
    interruptions: "Interruptions"
    background: Sequence[asyncio.Task[None]]
    vector_stores: "VectorStores"
    files: "Files"
    ownership: "Ownership"
    knowledge: "Knowledge"
    splunk: "SplunkSink | None"
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

    async def refusal(self) -> str | None:
        """Why no question can be answered at this moment, None if some can."""
        if await self.stack.outage() is not None:
            return "Providers not healthy: unknown"
        return (await self._availability()).refusal

    async def _availability(self) -> Availability:
        stack = self.stack
        settings = _assistant_settings(self.configuration)
        return availability(await stack.models(), settings, stack.providers, stack.down)

    async def impacts(self) -> list[tuple[str, str]]:
        """What is missing at this moment, as (component, message); questions are answered nevertheless."""
        down = await self.stack.providers_down()
        found = [(state.provider_id, state.message or "It does not work.") for state in down]
        found += self.stack.waiting()
        if impact := (await self._availability()).impact:
            found.append(("default model", impact))
        found += [("database", trouble) for trouble in await self.store.trouble()]
        if waiting := self.recorder.waiting:
            found.append(("database", f"turns that wait to be recorded: {waiting}"))
        if self.splunk is not None and (trouble := self.splunk.trouble):
            found.append(("splunk", f"events wait: {trouble}"))
        return [*found, *await self.knowledge.impacts()]

    async def close(self, grace: float = 30.0) -> None:
        """Let running Turns end, then stop the parts in reverse order."""
        await self.assistant.close(grace)
        for task in self.background:
            task.cancel()
        await asyncio.gather(*self.background, return_exceptions=True)
        await self.interruptions.close()
        await self.recorder.close()
        if self.splunk is not None:
            await self.splunk.close()
        await self.knowledge.close()
        await self.stack.close()
        await self.store.close()


def read_plan(
    configuration: Configuration, source: Path, environment: Mapping[str, str], *, make_folders: bool = True
) -> Plan:
    """Read the run configuration that the service's configuration names, or make one.

    Nothing is written but the folders of databases, and without `make_folders` nothing at all. Raises
    ConfigurationError with one line for each mistake.
    """
    problems = _unsupported(configuration, source)
    if not configuration.llama_stack.use_as_library_client:
        if problems:
            raise ConfigurationError(problems)
        return Plan(configuration, {}, source)
    try:
        state = state_directory(environment)
        run = read_run_configuration(configuration, source, environment, state, make_folders=make_folders)
        for notice in run.notices:
            logger.info("%s: %s", run.source, notice)
        portal = _portal_model(configuration, environment)
        tree = enriched(run.tree, configuration.byok_rag, source, state, portal)
        problems += [f"{run.source}: {problem}" for problem in reference_problems(tree)]
        problems += [f"{source}: {problem}" for problem in impossible_stores(configuration, tree)]
    except ConfigurationError as error:
        raise ConfigurationError([*problems, *error.problems]) from None
    if problems:
        raise ConfigurationError(problems)
    chosen = configuration.inference
    doubts = default_model_warnings(tree, chosen.default_provider, chosen.default_model)
    return Plan(configuration, tree, run.source, run.notices, [f"{source}: {doubt}" for doubt in doubts])


def _portal_model(configuration: Configuration, environment: Mapping[str, str]) -> EmbeddingModel | None:
    """The model by which the Offline Knowledge Portal is searched, if it is."""
    if not configuration.rag.uses_portal:
        return None
    # Imported here, because nobody needs it without the portal.
    from lightspeed.retrieval.okp.settings import PortalSettings

    settings = PortalSettings.read(configuration.okp, environment)
    return EmbeddingModel(settings.embedding_model, settings.embedding_dimension)


def warnings(configuration: Configuration, stores: Sequence[str] | None = None) -> list[str]:
    """One line for each key that has no effect, or not the one that it seems to have."""
    later = {
        "a2a_state": configuration.a2a_state.sqlite is not None
        or configuration.a2a_state.postgres is not None,
        "rlsapi_v1": configuration.rlsapi_v1.allow_verbose_infer
        or configuration.rlsapi_v1.quota_subject is not None,
        "quota_handlers.enable_token_history": configuration.quota_handlers.enable_token_history,
        "approvals": bool(configuration.approvals.model_fields_set),
        "service.base_url": configuration.service.base_url is not None,
        "customization.agent_card_config": configuration.customization is not None
        and configuration.customization.agent_card_config is not None,
        "authentication.skip_for_health_probes": configuration.authentication.skip_for_health_probes,
        "authentication.skip_for_metrics": configuration.authentication.skip_for_metrics,
    }
    unused = [f"{key}: has no effect in this version yet" for key, given in later.items() if given]
    if configuration.splunk is not None and configuration.splunk.enabled:
        unused.append(
            "splunk.enabled: nothing is sent yet, as this version does not serve /v1/infer and /v1/responses"
        )
    if configuration.conversation_cache.type == "noop":
        unused.append(
            "conversation_cache.type: `noop` keeps no texts, so follow-up questions are answered without them"
        )
    return [*unused, *hints(configuration, stores)]


async def start_services(
    plan: Plan, metrics: Metrics, progress: Progress = lambda _: None, tracing: Tracing = NO_TRACES
) -> Services:
    """Start databases, stack and assistant. Raises StartupError or ConfigurationError."""
    async with AsyncExitStack() as opened:
        progress("opening the database")
        store = await _open_store(plan.configuration)
        opened.push_async_callback(store.close)
        stack = await start_stack(plan, progress, strict=False)
        opened.push_async_callback(stack.close)
        services = await _assemble(plan, stack, store, metrics, tracing)
        opened.pop_all()
        return services


async def start_stack(plan: Plan, progress: Progress, *, strict: bool = True) -> "Stack":
    """Start the stack in this process, or find the server. Raises StartupError or ConfigurationError.

    Unless `strict`, it starts without the providers that are away, and takes them in when they come.
    """
    return await (
        _find_server(plan, progress) if plan.uses_server else _start_embedded(plan, progress, strict)
    )


async def _find_server(plan: Plan, progress: Progress) -> "Stack":
    progress("looking for the Llama Stack server")
    await to_thread.run_sync(prepare_environment)
    await to_thread.run_sync(import_module, "lightspeed.stack.remote.client")
    from lightspeed.stack.remote.client import RemoteStack
    from lightspeed.stack.remote.settings import ServerSettings

    return await RemoteStack.start(ServerSettings.read(plan.configuration.llama_stack))


async def _start_embedded(plan: Plan, progress: Progress, strict: bool) -> "Stack":
    progress("loading the stack")
    await to_thread.run_sync(prepare_environment)
    reclaim_logging = ReclaimLogging()
    await to_thread.run_sync(import_module, "lightspeed.stack.client")
    from lightspeed.stack.client import EmbeddedStack

    stack = await EmbeddedStack.start(
        plan.run_configuration, source=str(plan.run_configuration_file), progress=progress, strict=strict
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


async def _assemble(
    plan: Plan, stack: "Stack", store: "Store", metrics: Metrics, tracing: Tracing
) -> Services:
    configuration = plan.configuration
    from lightspeed.assistant.interruption import Interruptions
    from lightspeed.assistant.recorder import Recorder
    from lightspeed.retrieval.opening import open_knowledge
    from lightspeed.storage.ownership import Ownership

    there = await stack.outage() is None
    models = await stack.models() if there else None
    _count_models(metrics, models or (), configuration)
    stack.when_models_change(lambda found: _count_models(metrics, found, configuration))
    ownership = Ownership(store.databases[0])  # the main one
    knowledge = await open_knowledge(
        configuration,
        plan.configured_stores,
        stack.knowledge,
        models,
        ownership,
        os.environ,
        metrics.retrieval,
    )
    for doubt in plan.doubts:
        logger.warning("%s", doubt)
    # Some may have to wait for their provider.
    ids = [*plan.configured_stores, *await stack.knowledge.ids()] if there else None
    for line in await to_thread.run_sync(warnings, configuration, ids):
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
        tracing=tracing,
    )
    interruptions = Interruptions(assistant, store.interrupts, shared=_is_shared(configuration))
    recorder.start()
    interruptions.start()
    work = {**_background(configuration, store), "pulse": Pulse(metrics, lambda: recorder.waiting).run()}
    background = [asyncio.create_task(each, name=name) for name, each in work.items()]
    return Services(
        configuration,
        stack,
        store,
        recorder,
        assistant,
        interruptions,
        background,
        vector_stores=stack.vector_stores,
        files=stack.files,
        ownership=ownership,
        knowledge=knowledge,
        splunk=_start_splunk(configuration),
        started_at=int(time.time()),
    )


def _start_splunk(configuration: Configuration) -> "SplunkSink | None":
    if configuration.splunk is None or not configuration.splunk.enabled:
        return None
    from lightspeed.telemetry.splunk import SplunkSink

    sink = SplunkSink(configuration.splunk, state_directory(os.environ) / "splunk")
    sink.start()
    return sink


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


def _unsupported(configuration: Configuration, source: Path) -> list[str]:
    """What this version cannot do yet is refused by name, so that nothing is silently without effect."""
    refused = {
        "authentication.module": configuration.authentication.module != "noop",
        "authorization": configuration.authorization is not None,
        "mcp_servers": bool(configuration.mcp_servers),
        "quota_handlers.limiters": bool(configuration.quota_handlers.limiters),
        "azure_entra_id": configuration.azure_entra_id is not None,
        "compaction.enabled": configuration.compaction.enabled,
        "skills": configuration.skills is not None and bool(configuration.skills.paths),
    }
    return [
        f"{source}: {key}: is not supported by this version yet" for key, given in refused.items() if given
    ]


def _count_models(metrics: Metrics, models: Sequence[Model], configuration: Configuration) -> None:
    try:
        default = choose_model(models, _assistant_settings(configuration), (None, None), (None, None))
    except RequestError:
        default = None
    metrics.models(
        {(model.provider_id, model.name) for model in models if model.model_type == "llm"},
        (default.provider_id, default.name) if default else None,
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
