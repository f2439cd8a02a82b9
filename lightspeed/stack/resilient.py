"""The stack's own start, which goes on without what cannot be started, and takes it in later."""

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any, override

from llama_stack.core.datatypes import RegisteredResources, StackConfig
from llama_stack.core.distribution import builtin_automatically_routed_apis
from llama_stack.core.resolver import (
    ProviderWithSpec,
    instantiate_provider,
    sort_providers_by_deps,
    specs_for_autorouted_apis,
    validate_and_prepare_providers,
)
from llama_stack.core.routing_tables.common import CommonRoutingTableImpl
from llama_stack.core.routing_tables.models import ModelsRoutingTable
from llama_stack.core.stack import (
    RESOURCES,
    Stack,
    _initialize_storage,
    add_internal_implementations,
    auto_register_tool_groups,
    register_connectors,
    register_resources,
    validate_safety_config,
    validate_vector_stores_config,
)
from llama_stack.core.store.registry import create_dist_registry
from llama_stack_api import Api, ModelNotFoundError

from lightspeed.errors import ProviderUnavailable, StartupError
from lightspeed.stack.absent import STORE_NAMES, MissingProvider, RunningProviders, WaitingResource

logger = logging.getLogger(__name__)

_TABLES = {info.router_api: info.routing_table_api for info in builtin_automatically_routed_apis()}
_ROUTERS = {table: router for router, table in _TABLES.items()}


class ResilientStack(Stack):  # type: ignore[misc]
    """`initialize`, then `complete` once the models are listed.

    Unless it is `strict`, providers that cannot be started are `missing`, and what needs them is `waiting`.
    """

    def __init__(self, configuration: StackConfig, registry: Any, *, strict: bool) -> None:
        super().__init__(configuration, registry)
        self.strict = strict
        self.missing: list[MissingProvider] = []
        self.waiting: list[WaitingResource] = []
        self._policy: list[Any] = configuration.server.auth.access_policy if configuration.server.auth else []
        self._registry: Any = None

    @override
    async def initialize(self) -> None:
        """Start the providers and register what the run configuration names. Models are not listed yet."""
        configuration = self.run_config
        metadata = configuration.storage.stores.metadata
        if metadata is None:
            raise StartupError("run.yaml: storage.stores.metadata: is required")
        _initialize_storage(configuration)
        self._registry, _ = await create_dist_registry(metadata, configuration.distro_name)
        internal: dict[Api, Any] = {}
        add_internal_implementations(internal, configuration, self._policy)
        self.impls = dict(internal)
        # Before the providers: one that is not initialized complains when a failed start is undone.
        for api in (Api.prompts, Api.conversations, Api.connectors):
            await self.impls[api].initialize()
        await self._start_providers()
        for kind, table, resource in self._resources():
            await self._register(kind, table, resource)
        await auto_register_tool_groups(self._without_missing(), self.impls)
        await register_connectors(configuration, self.impls)
        for impl in self.impls.values():
            if isinstance(impl, CommonRoutingTableImpl) and not isinstance(impl, ModelsRoutingTable):
                await impl.refresh()

    async def complete(self, down: Collection[str]) -> None:
        """Register what needed listed models. `down` are the model providers that could not list theirs.

        Raises what is wrong beyond that.
        """
        away = {*down, *(missing.id for missing in self.missing)}
        await self.register_waiting()
        for waiting in self.waiting:
            if isinstance(waiting.error, ModelNotFoundError):
                provider = str(getattr(waiting.resource, "embedding_model", "")).partition("/")[0]
                if self.strict or provider not in away:
                    raise waiting.error
        for check in (
            validate_vector_stores_config(self.run_config.vector_stores, self.impls),
            validate_safety_config(self.run_config.safety, self.impls),
        ):
            try:
                await check
            except ValueError as error:
                if self.strict or not away:
                    raise
                logger.warning(
                    "Not everything in run.yaml works without %s: %s", ", ".join(sorted(away)), error
                )

    def running(self, api: Api) -> Mapping[str, Any]:
        """The providers of one API that run, by id."""
        impl = self.impls.get(_TABLES.get(api, api))
        if isinstance(impl, CommonRoutingTableImpl):
            providers: Mapping[str, Any] = impl.impls_by_provider_id
            return providers
        return {} if impl is None else {str(getattr(impl, "__provider_id__", "")): impl}

    async def take_in(self, missing: MissingProvider) -> Any:
        """Start a missing provider now and let the others use it; returns it. Raises whatever keeps it from starting."""
        provider = await self._instantiate(missing.provider)
        table = self.impls[_TABLES[missing.api]]
        setattr(provider, STORE_NAMES[missing.api], table)
        table.impls_by_provider_id[missing.id] = provider
        self.missing.remove(missing)
        if missing.api is Api.tool_runtime:
            await auto_register_tool_groups(self._without_missing(), self.impls)
        return provider

    async def register_waiting(self) -> bool:
        """Try again to register what waits; returns whether something was."""
        still: list[WaitingResource] = []
        for waiting in self.waiting:
            try:
                await self._register_now(waiting.kind, waiting.table, waiting.resource)
            except Exception as error:
                still.append(WaitingResource(waiting.kind, waiting.table, waiting.resource, error))
        before, self.waiting = self.waiting, still
        return len(still) < len(before)

    async def _start_providers(self) -> None:
        configuration = self.run_config
        prepared = validate_and_prepare_providers(
            configuration, self.provider_registry, set(_TABLES.values()), set(_TABLES)
        )
        served = configuration.apis or {*prepared, *(api.value for pair in _TABLES.items() for api in pair)}
        prepared.update(specs_for_autorouted_apis(served))
        inner = {f"inner-{router.value}": RunningProviders() for router in _TABLES}
        for name, provider in sort_providers_by_deps(prepared, configuration):
            routed = f"inner-{provider.spec.router_api.value}" if hasattr(provider.spec, "router_api") else ""
            try:
                impl = await self._instantiate(provider, inner.get(routed, {}))
            except Exception as error:
                if self.strict or str(provider.provider_id).startswith("__"):
                    raise
                self.missing.append(MissingProvider(provider, error))
                continue
            if name in inner:
                inner[name][str(provider.provider_id)] = impl
            else:
                self.impls[Api(name)] = impl
        if Api.vector_stores in self.impls:
            self.impls[Api.vector_stores].vector_io_router = self.impls.get(Api.vector_io)

    async def _instantiate(self, provider: ProviderWithSpec, inner: Mapping[str, Any] | None = None) -> Any:
        specification = provider.spec
        lacking = [api.value for api in specification.api_dependencies if api not in self.impls]
        if lacking:
            raise StartupError(
                f"provider {provider.provider_id} of {specification.api.value} needs {', '.join(lacking)}, "
                "which run.yaml does not configure or which did not start"
            )
        needed = (*specification.api_dependencies, *specification.optional_api_dependencies)
        return await instantiate_provider(
            provider,
            {api: self.impls[api] for api in needed if api in self.impls},
            inner,
            self._registry,
            self.run_config,
            self._policy,
        )

    def _resources(self) -> Iterator[tuple[str, Api, Any]]:
        for kind, table, *_ in RESOURCES:
            if table in self.impls:
                for resource in getattr(self.run_config.registered_resources, kind):
                    yield kind, table, resource

    async def _register(self, kind: str, table: Api, resource: Any) -> None:
        try:
            await self._register_now(kind, table, resource)
        except ModelNotFoundError as error:  # its provider has not listed its models yet
            self.waiting.append(WaitingResource(kind, table, resource, error))
        except Exception as error:
            if self.strict or not self._may_come(table, resource):
                raise
            self.waiting.append(WaitingResource(kind, table, resource, error))

    async def _register_now(self, kind: str, table: Api, resource: Any) -> None:
        if (missing := self._missing_provider(table, resource)) is not None:
            raise ProviderUnavailable(f"Provider {missing.id} is not running.")
        alone = RegisteredResources(**{kind: [resource]})
        await register_resources(
            self.run_config.model_copy(update={"registered_resources": alone}), self.impls
        )

    def _may_come(self, table: Api, resource: Any) -> bool:
        """Whether the reason can be that a server is away."""
        if self._missing_provider(table, resource) is not None:
            return True
        provider = self.impls[table].impls_by_provider_id.get(getattr(resource, "provider_id", None))
        specification = getattr(provider, "__provider_spec__", None)
        return str(getattr(specification, "provider_type", "")).startswith("remote::")

    def _missing_provider(self, table: Api, resource: Any) -> MissingProvider | None:
        wanted = (_ROUTERS[table], getattr(resource, "provider_id", None))
        return next((one for one in self.missing if (one.api, one.id) == wanted), None)

    def _without_missing(self) -> StackConfig:
        if not self.missing:
            return self.run_config
        gone = {(missing.api.value, missing.id) for missing in self.missing}
        kept = {
            api: [provider for provider in providers if (api, provider.provider_id) not in gone]
            for api, providers in self.run_config.providers.items()
        }
        return self.run_config.model_copy(update={"providers": kept})
