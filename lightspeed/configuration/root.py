"""The whole configuration file of the service."""

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from lightspeed.configuration.authentication import AuthenticationConfiguration
from lightspeed.configuration.authorization import EVERYONE, AuthorizationConfiguration
from lightspeed.configuration.azure import AzureEntraIdConfiguration
from lightspeed.configuration.customization import Customization
from lightspeed.configuration.inference import CompactionConfiguration, InferenceConfiguration
from lightspeed.configuration.llama_stack import LlamaStackConfiguration
from lightspeed.configuration.mcp import ApprovalsConfiguration, ModelContextProtocolServer
from lightspeed.configuration.mcp_registration import McpRegistrationConfiguration
from lightspeed.configuration.quota import QuotaHandlersConfiguration
from lightspeed.configuration.rag import (
    OKP,
    ByokRag,
    OkpConfiguration,
    RagConfiguration,
    RerankerConfiguration,
)
from lightspeed.configuration.retention import RetentionConfiguration
from lightspeed.configuration.rlsapi import RlsapiV1Configuration
from lightspeed.configuration.saved_prompts import SavedPromptsConfiguration
from lightspeed.configuration.section import KeyPath, Section, repeated
from lightspeed.configuration.service import ServiceConfiguration
from lightspeed.configuration.skills import SkillsConfiguration
from lightspeed.configuration.storage import (
    A2AStateConfiguration,
    ConversationHistoryConfiguration,
    DatabaseConfiguration,
    UserDataCollection,
)
from lightspeed.configuration.telemetry import SplunkConfiguration


class Configuration(Section):
    """All sections, in the order of a dump."""

    name: str = Field(description="Name of the service.")
    service: ServiceConfiguration = Field(description="The web server.")
    llama_stack: LlamaStackConfiguration = Field(description="The Llama Stack.")
    user_data_collection: UserDataCollection = Field(description="Feedback and transcripts.")
    database: DatabaseConfiguration = Field(DatabaseConfiguration(), description="The main database.")
    retention: RetentionConfiguration = Field(RetentionConfiguration(), description="How long data is kept.")
    mcp_servers: tuple[ModelContextProtocolServer, ...] = Field((), description="MCP servers.")
    mcp_registration: McpRegistrationConfiguration = Field(
        McpRegistrationConfiguration(), description="MCP servers of users."
    )
    authentication: AuthenticationConfiguration = Field(
        AuthenticationConfiguration(), description="Who is asking."
    )
    authorization: AuthorizationConfiguration | None = Field(None, description="Who may do what.")
    customization: Customization | None = Field(None, description="Prompts and agent card.")
    inference: InferenceConfiguration = Field(InferenceConfiguration(), description="Default model.")
    conversation_cache: ConversationHistoryConfiguration = Field(
        ConversationHistoryConfiguration(), description="Conversation history."
    )
    compaction: CompactionConfiguration = Field(CompactionConfiguration(), description="Long conversations.")
    approvals: ApprovalsConfiguration = Field(ApprovalsConfiguration(), description="Approval of tool calls.")
    byok_rag: tuple[ByokRag, ...] = Field((), description="Knowledge stores of the user's own.")
    a2a_state: A2AStateConfiguration = Field(A2AStateConfiguration(), description="State of A2A tasks.")
    quota_handlers: QuotaHandlersConfiguration = Field(
        QuotaHandlersConfiguration(), description="Quotas of tokens."
    )
    azure_entra_id: AzureEntraIdConfiguration | None = Field(None, description="Tokens for Azure models.")
    rlsapi_v1: RlsapiV1Configuration = Field(RlsapiV1Configuration(), description="The route /v1/infer.")
    splunk: SplunkConfiguration | None = Field(None, description="Events for Splunk.")
    deployment_environment: str = Field("development", description="Name of the environment, for Splunk.")
    rag: RagConfiguration = Field(RagConfiguration(), description="Which stores are searched.")
    okp: OkpConfiguration = Field(OkpConfiguration(), description="The Offline Knowledge Portal.")
    reranker: RerankerConfiguration = Field(RerankerConfiguration(), description="Reranking of chunks.")
    skills: SkillsConfiguration | None = Field(None, description="Agent skills.")
    saved_prompts: SavedPromptsConfiguration = Field(
        SavedPromptsConfiguration(), description="Texts that users keep for later."
    )

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        for position in repeated([server.name for server in self.mcp_servers]):
            yield ("mcp_servers", position, "name"), "is the name of another server too"
        for position in repeated([store.rag_id for store in self.byok_rag]):
            yield ("byok_rag", position, "rag_id"), "is the id of another store too"
        if self.conversation_cache.type == "memory" and self.service.workers > 1:
            path = ("conversation_cache", "type")
            yield path, "`memory` is not shared between processes; it needs `service.workers` to be 1"
        if self.inference.providers and self.llama_stack.library_client_config_path:
            path = ("inference", "providers")
            yield path, "cannot be given beside `llama_stack.library_client_config_path`; list them there"
        for position, rule in enumerate(self.authorization.access_rules if self.authorization else ()):
            if rule.role not in _possible_roles(self.authentication):
                yield (
                    ("authorization", "access_rules", position, "role"),
                    f"`{rule.role}` is given to nobody by the authentication module in use",
                )
        subject = self.rlsapi_v1.quota_subject
        if subject in {"org_id", "system_id"} and self.authentication.module != "rh-identity":
            path = ("rlsapi_v1", "quota_subject")
            yield path, f"`{subject}` needs the authentication module `rh-identity`"

    @model_validator(mode="after")
    def _enable_reranker(self) -> Self:
        """Stores of the user's own and the portal score differently, so both together are reranked."""
        if self.byok_rag and OKP in self.rag.inline and not self.reranker.model_fields_set:
            reranker = self.reranker.model_copy(update={"enabled": True})
            # The model is frozen for everyone but its own validation.
            object.__setattr__(self, "reranker", reranker)
        return self


def _possible_roles(authentication: AuthenticationConfiguration) -> frozenset[str]:
    """The roles that the module in use can give to a caller."""
    roles = {EVERYONE}
    if authentication.module == "jwk-token" and authentication.jwk_config is not None:
        for rule in authentication.jwk_config.jwt_configuration.role_rules:
            roles.update(rule.roles)
    if authentication.module == "api-key-token" and authentication.api_key_config is not None:
        for key in authentication.api_key_config.keys:
            roles.update(key.roles)
    return frozenset(roles)
