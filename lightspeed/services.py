"""The parts of the running service, put together."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from lightspeed.assistant.assistant import Assistant
from lightspeed.assistant.settings import DEFAULT_SYSTEM_PROMPT, AssistantSettings
from lightspeed.configuration.hints import hints
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError, StartupError
from lightspeed.retrieval.search import KnowledgeSearch, KnowledgeSettings
from lightspeed.stack.environment import prepare_environment
from lightspeed.stack.models import Model
from lightspeed.stack.run_configuration import load_run_configuration
from lightspeed.storage.feedback import FeedbackStore
from lightspeed.storage.files import remove_stale_temporaries
from lightspeed.storage.transcripts import Transcripts
from lightspeed.telemetry.logging import ReclaimLogging
from lightspeed.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from lightspeed.stack.client import EmbeddedStack
    from lightspeed.storage.conversations import Conversations
    from lightspeed.storage.database import Database

logger = logging.getLogger(__name__)

type Progress = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What the configuration files ask for, read and checked, before anything is started."""

    configuration: Configuration
    run_configuration: Mapping[str, Any]
    run_configuration_file: Path


@dataclass(frozen=True)
class Services:
    """Everything that a request may need. Made by `start_services`, ended by `close`."""

    configuration: Configuration
    stack: "EmbeddedStack"
    database: "Database"
    conversations: "Conversations"
    assistant: Assistant
    feedback: FeedbackStore | None

    async def close(self, grace: float = 30.0) -> None:
        """Let running Turns end, then stop the parts in reverse order."""
        await self.assistant.close(grace)
        await self.stack.close()
        await self.database.close()


def read_plan(configuration: Configuration, source: Path, environment: Mapping[str, str]) -> Plan:
    """Read the run configuration that the service's configuration names. Raises ConfigurationError."""
    _refuse_unsupported(configuration, source)
    path = configuration.llama_stack.library_client_config_path
    if not path:
        raise ConfigurationError(f"{source}: llama_stack.library_client_config_path: is required")
    run_file = Path(path)
    return Plan(configuration, load_run_configuration(run_file, environment), run_file)


def warnings(configuration: Configuration, stores: Sequence[str]) -> list[str]:
    """One line for each key that has no effect, or not the one that it seems to have."""
    later = {
        "conversation_cache": configuration.conversation_cache.type is not None,
        "a2a_state": configuration.a2a_state.sqlite is not None
        or configuration.a2a_state.postgres is not None,
        "okp": "okp" in (*configuration.rag.inline, *configuration.rag.tool),
        "reranker.enabled": configuration.reranker.enabled,
        "rlsapi_v1": configuration.rlsapi_v1.allow_verbose_infer
        or configuration.rlsapi_v1.quota_subject is not None,
        "quota_handlers.enable_token_history": configuration.quota_handlers.enable_token_history,
    }
    unused = [f"{key}: has no effect in this version yet" for key, given in later.items() if given]
    return [*unused, *hints(configuration, stores)]


async def start_services(plan: Plan, metrics: Metrics, progress: Progress = lambda _: None) -> Services:
    """Start database, stack and assistant. Raises StartupError or ConfigurationError."""
    configuration = plan.configuration
    async with AsyncExitStack() as opened:
        progress("opening the database")
        database, conversations = await _open_database(configuration)
        opened.push_async_callback(database.close)
        stack = await start_stack(plan, progress)
        opened.push_async_callback(stack.close)
        services = await _assemble(configuration, stack, database, conversations, metrics)
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


async def _assemble(
    configuration: Configuration,
    stack: "EmbeddedStack",
    database: "Database",
    conversations: "Conversations",
    metrics: Metrics,
) -> Services:
    _count_models(metrics, await stack.models(), configuration)
    for line in warnings(configuration, await stack.knowledge.ids()):
        logger.warning("Configuration: %s", line)
    transcripts, feedback = await to_thread.run_sync(_open_files, configuration)
    assistant = Assistant(
        models=stack,
        knowledge=KnowledgeSearch(stack.knowledge, _knowledge_settings(configuration)),
        conversations=conversations,
        transcripts=transcripts,
        metrics=metrics,
        settings=_assistant_settings(configuration),
    )
    return Services(configuration, stack, database, conversations, assistant, feedback)


def _refuse_unsupported(configuration: Configuration, source: Path) -> None:
    """What this version cannot do yet is refused by name, so that nothing is silently without effect."""
    refused = {
        "llama_stack.url": not configuration.llama_stack.use_as_library_client,
        "service.workers": configuration.service.workers > 1,
        "authentication.module": configuration.authentication.module != "noop",
        "authorization": configuration.authorization is not None,
        "database.postgres": configuration.database.postgres is not None,
        "mcp_servers": bool(configuration.mcp_servers),
        "byok_rag": bool(configuration.byok_rag),
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


async def _open_database(configuration: Configuration) -> tuple["Database", "Conversations"]:
    await to_thread.run_sync(import_module, "lightspeed.storage.conversations")
    from lightspeed.storage.conversations import Conversations
    from lightspeed.storage.database import Database

    if configuration.database.sqlite is None:
        raise StartupError("no database is configured")
    database = Database.at(Path(configuration.database.sqlite.db_path))
    await database.open()
    return database, Conversations(database)


def _open_files(configuration: Configuration) -> tuple[Transcripts | None, FeedbackStore | None]:
    collection = configuration.user_data_collection
    transcripts = feedback = None
    if collection.transcripts_enabled and collection.transcripts_storage:
        root = Path(collection.transcripts_storage)
        remove_stale_temporaries(root)
        transcripts = Transcripts(root)
    if collection.feedback_storage:
        root = Path(collection.feedback_storage)
        remove_stale_temporaries(root)
        feedback = FeedbackStore(root)
    return transcripts, feedback


def _assistant_settings(configuration: Configuration) -> AssistantSettings:
    customization, inference = configuration.customization, configuration.inference
    prompt = None
    if customization is not None:
        profile = customization.custom_profile.prompts if customization.custom_profile else {}
        prompt = profile.get("default") or customization.system_prompt
    limits = configuration.service.limits
    return AssistantSettings(
        default_provider=inference.default_provider,
        default_model=inference.default_model,
        system_prompt=prompt or DEFAULT_SYSTEM_PROMPT,
        request_may_set_system_prompt=not (customization and customization.disable_query_system_prompt),
        context_windows=inference.context_windows,
        max_tool_rounds=limits.max_tool_rounds,
        turn_timeout=float(limits.turn_timeout_seconds),
    )


def _knowledge_settings(configuration: Configuration) -> KnowledgeSettings:
    rag = configuration.rag
    return KnowledgeSettings(
        inline=tuple(rag.inline),
        tool=tuple(rag.tool),
        inline_limit=rag.max_chunks,
        tool_limit=rag.max_chunks,
    )
