"""What the configuration files ask for, read and checked before anything is started."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightspeed.configuration.hints import hints
from lightspeed.configuration.loading import state_directory
from lightspeed.configuration.rag import OKP
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError
from lightspeed.identity.warnings import authentication_warnings
from lightspeed.stack.azure_models import azure_problems, azure_warnings
from lightspeed.stack.enrichment import enriched
from lightspeed.stack.passages import EmbeddingModel
from lightspeed.stack.run_file.checking import default_model_warnings, reference_problems
from lightspeed.stack.run_file.reading import read_run_configuration
from lightspeed.stack.run_file.stores import impossible_stores
from lightspeed.tools.skills.skills import Skills

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What the configuration files ask for, read and checked, before anything is started."""

    configuration: Configuration
    run_configuration: Mapping[str, Any]
    run_configuration_file: Path
    notices: Sequence[str] = ()  # what an older run.yaml says otherwise
    doubts: Sequence[str] = ()  # what starts, but cannot work
    skills: Skills = field(default_factory=lambda: Skills((), 0), compare=False)

    @property
    def configured_stores(self) -> frozenset[str]:
        """The ids of the vector stores that the configuration files name."""
        registered = (self.run_configuration.get("registered_resources") or {}).get("vector_stores") or ()
        rag, byok = self.configuration.rag, self.configuration.byok_rag
        stores = {str(store.get("vector_store_id")) for store in registered}
        stores |= {store.vector_db_id for store in byok}
        if self.uses_server:
            stores |= {*rag.inline, *rag.tool} - {OKP, *(store.rag_id for store in byok)}
        return frozenset(stores)

    @property
    def uses_server(self) -> bool:
        """Whether the stack is a server of its own; then there is no run configuration here."""
        return not self.configuration.llama_stack.use_as_library_client


def read_plan(
    configuration: Configuration, source: Path, environment: Mapping[str, str], *, make_folders: bool = True
) -> Plan:
    """Read the run configuration that the service's configuration names, or make one.

    Nothing is written but the folders of databases, and without `make_folders` nothing at all. Raises
    ConfigurationError with one line for each mistake.
    """
    problems = _unsupported(configuration, source)
    skills = Skills((), 0)
    try:
        skills = Skills.load(configuration.skills)
    except ConfigurationError as error:
        problems += [f"{source}: {problem}" for problem in error.problems]
    if not configuration.llama_stack.use_as_library_client:
        if problems:
            raise ConfigurationError(problems)
        return Plan(configuration, {}, source, skills=skills)
    try:
        state = state_directory(environment)
        run = read_run_configuration(configuration, source, environment, state, make_folders=make_folders)
        for notice in run.notices:
            logger.info("%s: %s", run.source, notice)
        portal = _portal_model(configuration, environment)
        tree = enriched(run.tree, configuration.byok_rag, source, state, portal)
        problems += [f"{run.source}: {problem}" for problem in reference_problems(tree)]
        problems += [f"{source}: {problem}" for problem in impossible_stores(configuration, tree)]
        if configuration.azure_entra_id is not None:
            problems += [f"{run.source}: {problem}" for problem in azure_problems(tree)]
    except ConfigurationError as error:
        raise ConfigurationError([*problems, *error.problems]) from None
    if problems:
        raise ConfigurationError(problems)
    chosen = configuration.inference
    found = list(default_model_warnings(tree, chosen.default_provider, chosen.default_model))
    if configuration.azure_entra_id is not None:
        found += azure_warnings(tree)
    doubts = [f"{source}: {doubt}" for doubt in found]
    return Plan(configuration, tree, run.source, run.notices, doubts, skills)


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
        "service.base_url": configuration.service.base_url is not None,
        "customization.agent_card_config": configuration.customization is not None
        and configuration.customization.agent_card_config is not None,
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
    return [*unused, *hints(configuration, stores), *authentication_warnings(configuration.authentication)]


def _unsupported(configuration: Configuration, source: Path) -> list[str]:
    """What this version cannot do yet is refused by name, so that nothing is silently without effect."""
    refused = {"compaction.enabled": configuration.compaction.enabled}
    return [
        f"{source}: {key}: is not supported by this version yet" for key, given in refused.items() if given
    ]
