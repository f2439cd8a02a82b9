"""Every configuration file in examples/ and config/ works, with the variables of its own provider and no others."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from anyio import to_thread

from lightspeed.configuration.loading import load_configuration
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError, StartupError
from lightspeed.plan import Plan, read_plan, warnings
from lightspeed.stack.chat import ChatRequest
from lightspeed.stack.environment import prepare_environment
from lightspeed.stack.run_configuration import read_run_file
from tests.byok import write_byok_database
from tests.embedded import embedded_stack
from tests.example_files import EXAMPLES, ROOT, Example
from tests.scripted_model import Reply, ScriptedModel

_VARIABLE = re.compile(r"\$\{env\.([A-Z0-9_]+)([^}]*)\}")
KEY = "0012345-key"  # begins like a number


def examples(*names: str) -> list[object]:
    return [
        pytest.param(example, id=example.name) for example in EXAMPLES if not names or example.name in names
    ]


def environment(example: Example, state: Path, **more: str) -> dict[str, str]:
    variables = {**example.variables, "LIGHTSPEED_STATE": str(state), **more}
    if "BYOK_DATABASE" in variables:
        variables["BYOK_DATABASE"] = str(state / variables["BYOK_DATABASE"])
    return variables


def plan_of(example: Example, variables: Mapping[str, str]) -> Plan:
    return read_plan(load_configuration(example.file, variables), example.file, variables)


def files_of(example: Example) -> list[Path]:
    return [example.file, *([example.file.parent / example.run] if example.run else [])]


def test_all_files_are_known() -> None:
    found = {
        file
        for folder in ("config", "examples")
        for file in (ROOT / folder).rglob("*.yaml")
        if file.is_file()
    }
    assert {file for example in EXAMPLES for file in files_of(example)} == found


@pytest.mark.parametrize("example", examples())
def test_it_loads(example: Example, tmp_path: Path) -> None:
    if "BYOK_DATABASE" in example.variables:
        write_byok_database(tmp_path, example.variables["BYOK_STORE"], {"A backup runs each night.": {}})
    variables = environment(example, tmp_path)
    plan = plan_of(example, variables)
    assert [*plan.notices, *plan.doubts] == []
    assert warnings(plan.configuration) == []
    if example.name == "lls-external":
        assert plan.uses_server
        return
    expected = example.file.parent / example.run if example.run else example.file
    assert plan.run_configuration_file == expected
    portal_and_own = {"okp", *(entry.rag_id for entry in plan.configuration.byok_rag)}
    assert plan.configuration.rag.inline
    assert set(plan.configuration.rag.inline) - portal_and_own <= plan.configured_stores
    for database in databases(plan):
        assert database.is_relative_to(tmp_path)


def databases(plan: Plan) -> list[Path]:
    given = [plan.configuration.database.sqlite, plan.configuration.conversation_cache.sqlite]
    backends = plan.run_configuration["storage"]["backends"].values()
    return [
        *(block.db_path for block in given if block is not None),
        *(Path(backend["db_path"]) for backend in backends),
    ]


@pytest.mark.parametrize("example", examples())
def test_what_it_wants_is_told_at_its_head(example: Example, tmp_path: Path) -> None:
    """Each variable without a default is named there; without it the mistake is one line that names it."""
    head = example.file.read_text().partition("\nname:")[0]
    texts = re.sub(r"^#.*", "", "\n".join(file.read_text() for file in files_of(example)), flags=re.MULTILINE)
    wanted = {name for name, rest in _VARIABLE.findall(texts) if not rest} - {"LIGHTSPEED_STATE"}
    assert wanted <= example.variables.keys()
    for name in wanted:
        assert name in head
        given = {key: value for key, value in environment(example, tmp_path).items() if key != name}
        with pytest.raises(ConfigurationError) as raised:
            plan_of(example, given)
        assert all(name in problem for problem in raised.value.problems)


@pytest.mark.parametrize("example", examples(*(example.name for example in EXAMPLES if example.run)))
def test_the_settings_of_its_providers_are_right(example: Example, tmp_path: Path) -> None:
    prepare_environment()
    from lightspeed.stack.providers_check import check_providers, import_providers, provider_types

    tree = read_run_file(example.file.parent / str(example.run), environment(example, tmp_path))
    configuration = check_providers(tree, "run.yaml")
    registry = provider_types(configuration, "run.yaml")
    if example.missing and not installed(example.missing):
        with pytest.raises(StartupError) as raised:
            import_providers(configuration, registry, "run.yaml")
        assert str(raised.value) == (
            f"providers.inference.{example.name}: provider remote::{example.name}"
            f" needs the Python package {example.missing!r}, which is not installed"
        )
    else:
        import_providers(configuration, registry, "run.yaml")


def installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def addresses(server: ScriptedModel) -> dict[str, dict[str, str]]:
    """The variables that lead each example to a server which speaks OpenAI's protocol."""
    url, parts = server.base_url, urlsplit(server.base_url)
    host, port = str(parts.hostname), str(parts.port)
    return {
        "azure": {"AZURE_API_BASE": url, "AZURE_API_KEY": KEY, "AZURE_MODEL": "scripted"},
        "litellm": {"LITELLM_MODEL": "openai/scripted", "LITELLM_API_BASE": url, "LITELLM_API_KEY": KEY},
        "ollama": {"OLLAMA_URL": url, "OLLAMA_MODEL": "scripted"},
        "openai": {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEY, "OPENAI_MODEL": "scripted"},
        "vllm": {"KSVC_URL": url.removesuffix("/v1"), "VLLM_API_KEY": KEY},
        "vllm-rhaiis": {"RHAIIS_URL": host, "RHAIIS_PORT": port, "RHAIIS_API_KEY": KEY},
        "vllm-rhelai": {"RHEL_AI_URL": host, "RHEL_AI_PORT": port, "RHEL_AI_API_KEY": KEY},
    }


def model_of(configuration: Configuration, listed: list[str]) -> str:
    """The default model, which must be there; else the first chat model."""
    chosen = configuration.inference
    if chosen.default_provider is None:
        return listed[0]
    name = f"{chosen.default_provider}/{chosen.default_model}"
    assert name in listed
    return name


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore::DeprecationWarning:litellm.*")
# The list of providers reads all settings of vLLM's provider, one of which is out of date.
@pytest.mark.parametrize(
    "example",
    examples("azure", "litellm", "ollama", "openai", "vllm", "vllm-rhaiis", "vllm-rhelai"),
)
async def test_it_answers(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)  # litellm looks for it in the event loop
    key = "ollama" if example.name == "ollama" else KEY
    async with ScriptedModel(Reply("Each night."), api_key=key) as server:
        variables = environment(example, tmp_path, **addresses(server)[example.name])
        plan = await to_thread.run_sync(plan_of, example, variables)
        async with embedded_stack(dict(plan.run_configuration)) as stack:
            listed = [model.identifier for model in await stack.models() if model.model_type == "llm"]
            model = model_of(plan.configuration, listed)
            assert model.partition("/")[0] not in stack.down
            request = ChatRequest(model, [{"role": "user", "content": "When?"}], stream=True)
            text = "".join([piece.text async for piece in await stack.chat(request)])
            assert await stack.knowledge.ids() == ["knowledge"]
        [received] = server.chats
    assert text == "Each night."
    assert received.body["model"] == "scripted"
    assert received.headers["authorization"] == f"Bearer {key}"
