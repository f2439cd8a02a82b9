"""The parts of the running service, put together."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from lightspeed.assistant.assistant import Assistant
from lightspeed.assistant.availability import Availability, availability
from lightspeed.assistant.knowledge_tool import KnowledgeTool
from lightspeed.assistant.model_choice import choose_model
from lightspeed.assistant.settings import AssistantSettings
from lightspeed.configuration.loading import state_directory
from lightspeed.configuration.root import Configuration
from lightspeed.errors import RequestError
from lightspeed.plan import Plan, warnings
from lightspeed.stack.environment import prepare_environment
from lightspeed.stack.models import Model
from lightspeed.telemetry.logging import ReclaimLogging
from lightspeed.telemetry.metrics import Metrics
from lightspeed.telemetry.pulse import Pulse
from lightspeed.telemetry.tracing import NO_TRACES, Tracing
from lightspeed.tools.skills.skills import Skills

if TYPE_CHECKING:
    from lightspeed.assistant.interruption import Interruptions
    from lightspeed.assistant.metering import Metering
    from lightspeed.assistant.recorder import Recorder
    from lightspeed.retrieval.opening import Knowledge
    from lightspeed.stack.azure_tokens import AzureTokens
    from lightspeed.stack.stack import Files, Stack, VectorStores
    from lightspeed.storage.conversations import Conversations
    from lightspeed.storage.erasure import Erasure
    from lightspeed.storage.feedback import FeedbackStore
    from lightspeed.storage.mcp_servers import RegisteredServers
    from lightspeed.storage.ownership import Ownership
    from lightspeed.storage.prompts import Prompts
    from lightspeed.storage.saved_prompts import SavedPrompts
    from lightspeed.storage.store import Store
    from lightspeed.storage.switches import Switches
    from lightspeed.telemetry.splunk import SplunkSink
    from lightspeed.tools.mcp.toolbox import McpToolbox

logger = logging.getLogger(__name__)

type Progress = Callable[[str], None]


@dataclass(frozen=True)
class Services:
    """Everything that a request may need. Made by `start_services`, ended by `close`."""

    configuration: Configuration
    settings: AssistantSettings
    stack: "Stack"
    store: "Store"
    recorder: "Recorder"
    assistant: Assistant
    metering: "Metering"
    interruptions: "Interruptions"
    background: Sequence[asyncio.Task[None]]
    vector_stores: "VectorStores"
    files: "Files"
    knowledge: "Knowledge"
    skills: Skills
    tools: "McpToolbox | None"
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
    def ownership(self) -> "Ownership":
        return self.store.ownership

    @property
    def mcp_servers(self) -> "RegisteredServers":
        return self.store.mcp_servers

    @property
    def prompts(self) -> "Prompts":
        return self.store.prompts

    @property
    def saved_prompts(self) -> "SavedPrompts":
        return self.store.saved_prompts

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
        return availability(await stack.models(), self.settings, stack.providers, stack.down)

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
        if unsettled := self.metering.waiting:
            found.append(("database", f"token counts that wait to be settled: {unsettled}"))
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
        await self.metering.close()
        if self.tools is not None:
            await self.tools.close()
        await self.recorder.close()
        if self.splunk is not None:
            await self.splunk.close()
        await self.knowledge.close()
        await self.stack.close()
        await self.store.close()


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

    settings = ServerSettings.read(plan.configuration.llama_stack)
    return await RemoteStack.start(settings, azure_tokens=await _azure_tokens(plan.configuration))


async def _start_embedded(plan: Plan, progress: Progress, strict: bool) -> "Stack":
    progress("loading the stack")
    await to_thread.run_sync(prepare_environment)
    reclaim_logging = ReclaimLogging()
    await to_thread.run_sync(import_module, "lightspeed.stack.client")
    from lightspeed.stack.client import EmbeddedStack

    stack = await EmbeddedStack.start(
        plan.run_configuration,
        source=str(plan.run_configuration_file),
        progress=progress,
        strict=strict,
        azure_tokens=await _azure_tokens(plan.configuration),
    )
    reclaim_logging()
    return stack


async def _azure_tokens(configuration: Configuration) -> "AzureTokens | None":
    if configuration.azure_entra_id is None:
        return None
    await to_thread.run_sync(import_module, "lightspeed.stack.azure_tokens")
    from lightspeed.stack.azure_tokens import AzureTokens

    return AzureTokens.configured(configuration.azure_entra_id)


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
    from lightspeed.assistant.approval_retention import ApprovalRetention
    from lightspeed.assistant.interruption import Interruptions
    from lightspeed.assistant.metering import Metering
    from lightspeed.assistant.pauses import Pauses
    from lightspeed.assistant.recorder import Recorder
    from lightspeed.retrieval.opening import open_knowledge

    there = await stack.outage() is None
    models = await stack.models() if there else None
    settings = AssistantSettings.read(configuration)
    _count_models(metrics, models or (), settings)
    stack.when_models_change(lambda found: _count_models(metrics, found, settings))
    knowledge = await open_knowledge(
        configuration,
        plan.configured_stores,
        stack.knowledge,
        models,
        store.ownership,
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
    pauses = Pauses(
        store.paused_turns,
        store.approvals,
        recorder,
        timeout=configuration.approvals.approval_timeout_seconds,
    )
    tools = _toolbox(plan, store.mcp_servers)
    metering = Metering(store.quotas)
    assistant = Assistant(
        models=stack,
        knowledge=knowledge.search,
        conversations=store.conversations,
        recorder=recorder,
        metrics=metrics,
        settings=settings,
        tracing=tracing,
        tool_sources=[tools] if tools is not None else [],
        skills=plan.skills if plan.skills.catalogue else None,
        pauses=pauses,
        metering=metering,
    )
    interruptions = Interruptions(assistant, store.interrupts, shared=_is_shared(configuration))
    recorder.start()
    interruptions.start()
    if tools is not None:
        await tools.begin()
    approval_days = configuration.approvals.approval_retention_days
    work = {
        **_background(configuration, store),
        "approvals": ApprovalRetention(pauses, store.approvals, days=approval_days).run(),
        "pulse": Pulse(metrics, lambda: recorder.waiting).run(),
    }
    background = [asyncio.create_task(each, name=name) for name, each in work.items()]
    return Services(
        configuration,
        settings,
        stack,
        store,
        recorder,
        assistant,
        metering,
        interruptions,
        background,
        vector_stores=stack.vector_stores,
        files=stack.files,
        knowledge=knowledge,
        skills=plan.skills,
        tools=tools,
        splunk=_start_splunk(configuration),
        started_at=int(time.time()),
    )


def _toolbox(plan: Plan, registered: "RegisteredServers") -> "McpToolbox | None":
    """The tools of MCP servers, unless there can be none."""
    configuration = plan.configuration
    registration = configuration.mcp_registration
    if not configuration.mcp_servers and not registration.enabled:
        return None
    from lightspeed.tools.address_policy import registration_policy
    from lightspeed.tools.guarded_transport import guarded_transports
    from lightspeed.tools.mcp.server import MODULES_WITH_KUBERNETES_TOKEN, usable_servers
    from lightspeed.tools.mcp.toolbox import McpToolbox
    from lightspeed.tools.user_servers import UserServers

    users = UserServers(registered, configuration)
    servers, _ = usable_servers(configuration)
    return McpToolbox(
        servers,
        api_servers=(lambda caller: users.of(caller.user_id)) if registration.enabled else None,
        guarded_transport=guarded_transports(registration_policy(registration)),
        kubernetes_tokens=configuration.authentication.module in MODULES_WITH_KUBERNETES_TOKEN,
        reserved=[KnowledgeTool.name, *(tool.name for tool in plan.skills.tools(()))],
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
    from lightspeed.storage.quota_refills import QuotaRefills
    from lightspeed.storage.retention import Retention

    work: dict[str, Coroutine[Any, Any, None]] = {}
    if store.quotas is not None:
        work["quotas"] = QuotaRefills(store.quotas, configuration.quota_handlers.scheduler).run()
    if configuration.retention.given:
        work["retention"] = Retention(store.erasure, configuration.retention).run()
    collection = configuration.user_data_collection
    if collection.data_collector.enabled:
        state = state_directory(os.environ) / "collector"
        work["data collector"] = Collector(
            collection.data_collector, collected_directories(collection), state
        ).run()
    return work


def _count_models(metrics: Metrics, models: Sequence[Model], settings: AssistantSettings) -> None:
    try:
        default = choose_model(models, settings, (None, None), (None, None))
    except RequestError:
        default = None
    metrics.models(
        {(model.provider_id, model.name) for model in models if model.model_type == "llm"},
        (default.provider_id, default.name) if default else None,
    )
