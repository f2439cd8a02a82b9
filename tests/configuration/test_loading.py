"""Files in, configurations or one line for each mistake out; never a secret in either."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lightspeed.configuration.loading import load_configuration, masked, state_directory
from lightspeed.errors import ConfigurationError
from tests.configuration.complete import complete_file

MINIMAL = """\
name: Lightspeed Core Service (LCS)
service: {host: localhost, port: 8080, auth_enabled: false, workers: 1, color_log: true, access_log: true}
llama_stack: {use_as_library_client: false, url: "http://localhost:8321", api_key: xyzzy}
user_data_collection: {feedback_enabled: false, feedback_storage: feedback}
"""


def load(directory: Path, text: str, environment: dict[str, str] | None = None):
    path = directory / "lightspeed-stack.yaml"
    file = directory / "a file"
    file.touch()
    path.write_text(text.replace("FILE", str(file)))
    return load_configuration(path, {"LIGHTSPEED_STATE": str(directory / "state")} | (environment or {}))


def problems(directory: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(directory, text, environment)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    prefix = f"{directory / 'lightspeed-stack.yaml'}: "
    assert all(problem.startswith(prefix) and "\n" not in problem for problem in caught.value.problems)
    return [problem.removeprefix(prefix) for problem in caught.value.problems]


def test_a_minimal_file_of_the_former_service_loads(tmp_path: Path) -> None:
    configuration = load(tmp_path, MINIMAL)
    assert configuration.name == "Lightspeed Core Service (LCS)"
    assert str(configuration.llama_stack.url) == "http://localhost:8321/"


BROKEN = [
    # the whole file
    ("", "is empty"),
    ("# nothing\n", "is empty"),
    ("- a\n", "must be a mapping of sections"),
    ("name\n", "must be a mapping of sections"),
    ("a: [\n", "line 2, column 1: is not valid YAML"),
    (MINIMAL + "name: again\n", "name: is given twice, in line 1 and line 5"),
    # keys
    (MINIMAL + "servce: {}\n", "unknown key `servce`; did you mean `service`?"),
    (MINIMAL + "port: 1\n", "unknown key `port`; did you mean `service.port`?"),
    (MINIMAL + "nonsense: 1\n", "unknown key `nonsense`"),
    (MINIMAL + "rag: {inlin: []}\n", "rag: unknown key `inlin`; did you mean `inline`?"),
    (MINIMAL + "database: {sqlite: {db_path: x, mode: y}}\n", "database.sqlite: unknown key `mode`"),
    (MINIMAL + "byok_rag: [{rag_id: r, vector_db_id: v, db_path: d, x: 1}]\n", "byok_rag[0]: unknown key `x`"),
    (MINIMAL + "inference: {1: 2}\n", "inference[1]: must have a key that is text"),
    (MINIMAL + "inference: {context_windows: {1: 2}}\n", "inference.context_windows[1]: must have a key that is text and not empty"),
    (MINIMAL.replace("name: Light", "nam: Light"), ["name: is required", "unknown key `nam`; did you mean `name`?"]),
    ("name: n\nservice: {}\nllama_stack: {url: 'http://h'}\n", "user_data_collection: is required"),
    # types and bounds
    (MINIMAL.replace("8080", "65536"), "service.port: must be at most 65535"),
    (MINIMAL.replace("8080", "0"), "service.port: must be greater than 0"),
    (MINIMAL.replace("8080", "eighty"), "service.port: must be a whole number"),
    (MINIMAL.replace("8080", "80.5"), "service.port: must be a whole number"),
    (MINIMAL.replace("8080", "true"), "service.port: must be a number"),
    (MINIMAL.replace("8080", "[1]"), "service.port: must be a whole number"),
    (MINIMAL.replace("8080", "~"), "service.port: must not be null"),
    (MINIMAL.replace("workers: 1", "workers: 0"), "service.workers: must be greater than 0"),
    (MINIMAL.replace("color_log: true", "color_log: maybe"), "service.color_log: must be true or false"),
    (MINIMAL.replace("name: Lightspeed Core Service (LCS)", "name: 5"), "name: must be text; put the value in quotes"),
    (MINIMAL + "rag: []\n", "rag: must be a section with keys"),
    (MINIMAL + "rag:\n", "rag: must not be null; write `{}` for a section without keys"),
    (MINIMAL + "rag: {inline: docs}\n", "rag.inline: must be a list"),
    (MINIMAL + "rag: {inline: ['']}\n", "rag.inline[0]: must not be empty"),
    (MINIMAL + "mcp_servers: {}\n", "mcp_servers: must be a list"),
    (MINIMAL + "inference: {context_windows: [1]}\n", "inference.context_windows: must be a mapping of keys to values"),
    (MINIMAL + "inference: {context_windows: {p/m: 0}}\n", "inference.context_windows.p/m: must be greater than 0"),
    (MINIMAL + "compaction: {threshold_ratio: 1.1}\n", "compaction.threshold_ratio: must be at most 1"),
    (MINIMAL + "compaction: {threshold_ratio: true}\n", "compaction.threshold_ratio: must be a number"),
    (MINIMAL + "compaction: {threshold_ratio: high}\n", "compaction.threshold_ratio: must be a number"),
    (MINIMAL + "compaction: {token_floor: -1}\n", "compaction.token_floor: must be at least 0"),
    (MINIMAL + "byok_rag: [{rag_id: r, vector_db_id: v, db_path: '', score_multiplier: .inf}]\n", ["byok_rag[0].db_path: must not be empty", "byok_rag[0].score_multiplier: must be a finite number"]),
    (MINIMAL + "okp: {rhokp_url: 'ftp://h'}\n", "okp.rhokp_url: must be an http or https URL"),
    (MINIMAL + "okp: {rhokp_url: 'localhost:80'}\n", "okp.rhokp_url: must be an http or https URL"),
    (MINIMAL + "mcp_servers: [{name: a, url: 'h:80'}]\n", "mcp_servers[0].url: must be an http or https URL"),
    (MINIMAL + "mcp_servers: [{name: a, url: 'http://h:port'}]\n", "mcp_servers[0].url: must be an http or https URL"),
    (MINIMAL + "mcp_servers: [{name: a, url: 'http://h', require_approval: often}]\n", "mcp_servers[0].require_approval: must be `always` or `never`"),
    (MINIMAL + "mcp_servers: [{name: a, url: 'http://h', require_approval: {allways: []}}]\n", "mcp_servers[0].require_approval: unknown key `allways`; did you mean `always`?"),
    (MINIMAL + "authorization: {access_rules: [{role: r, actions: [quary]}]}\n", "authorization.access_rules[0].actions[0]: is unknown; did you mean `query`?"),
    (MINIMAL + "authentication: {module: jwt-token}\n", "authentication.module: is unknown; did you mean `jwk-token`?"),
    (MINIMAL + "conversation_cache: {type: redis}\n", "conversation_cache.type: must be `noop`, `memory`, `sqlite` or `postgres`"),
    # files and directories
    (MINIMAL.replace("workers: 1", "tls_config: {tls_certificate_path: /nowhere, tls_key_path: /}"), ["service.tls_config.tls_certificate_path: no such file", "service.tls_config.tls_key_path: no such file"]),
    (MINIMAL + "skills: {paths: [/nowhere]}\n", "skills.paths[0]: no such directory"),
    (MINIMAL + "customization: {system_prompt_path: /nowhere}\n", "customization.system_prompt_path: no such file"),
    (MINIMAL.replace("feedback_enabled: false", "transcripts_enabled: true, transcripts_storage: FILE"), "user_data_collection.transcripts_storage: is not a directory"),
    # keys that belong together
    (MINIMAL.replace("workers: 1", "tls_config: {tls_certificate_path: FILE}"), "service.tls_config.tls_key_path: is required beside `tls_certificate_path`"),
    (MINIMAL.replace("workers: 1", "tls_config: {tls_key_path: FILE}"), "service.tls_config.tls_certificate_path: is required beside `tls_key_path`"),
    (MINIMAL.replace("workers: 1", "tls_config: {tls_key_password: FILE}"), "service.tls_config.tls_key_password: has no use without `tls_key_path`"),
    (MINIMAL.replace("workers: 1", "cors: {allow_credentials: true}"), "service.cors.allow_credentials: cannot be true while `allow_origins` holds `*`; list the origins"),
    (MINIMAL.replace("workers: 1", "root_path: api"), "service.root_path: must be empty, or begin with `/` and not end with `/`"),
    (MINIMAL.replace("workers: 1", "root_path: /api/"), "service.root_path: must be empty, or begin with `/` and not end with `/`"),
    (MINIMAL.replace('url: "http://localhost:8321", ', ""), "llama_stack.url: is required unless `use_as_library_client` is true"),
    (MINIMAL.replace("use_as_library_client: false", "use_as_library_client: false, config: {}"), "llama_stack.config: needs `use_as_library_client` to be true"),
    (MINIMAL.replace("use_as_library_client: false", "use_as_library_client: true, library_client_config_path: FILE, config: {}"), "llama_stack.config: cannot be given beside `library_client_config_path`"),
    (MINIMAL.replace("feedback_enabled: false, feedback_storage: feedback", "feedback_enabled: true"), "user_data_collection.feedback_storage: is required when `feedback_enabled` is true"),
    (MINIMAL + "database: {sqlite: {db_path: x}, postgres: {db: d, user: u, password: p}}\n", "database: takes `sqlite` or `postgres`, not both"),
    (MINIMAL + "a2a_state: {sqlite: {db_path: x}, postgres: {db: d, user: u, password: p}}\n", "a2a_state: takes `sqlite` or `postgres`, not both"),
    (MINIMAL + "quota_handlers: {sqlite: {db_path: x}, postgres: {db: d, user: u, password: p}}\n", "quota_handlers: takes `sqlite` or `postgres`, not both"),
    (MINIMAL + "conversation_cache: {type: memory}\n", "conversation_cache.memory: is required by the type `memory`"),
    (MINIMAL + "conversation_cache: {memory: {max_entries: 1}}\n", "conversation_cache.type: is required beside `memory`"),
    (MINIMAL + "conversation_cache: {type: sqlite, sqlite: {db_path: x}, memory: {max_entries: 1}}\n", "conversation_cache.memory: does not belong to the type `sqlite`"),
    (MINIMAL + "inference: {default_model: m}\n", "inference.default_provider: is required beside `default_model`"),
    (MINIMAL + "inference: {default_provider: p}\n", "inference.default_model: is required beside `default_provider`"),
    (MINIMAL + "authentication: {module: api-key-token}\n", "authentication.api_key_config: is required by the module `api-key-token`"),
    (MINIMAL + "authentication: {module: jwk-token}\n", "authentication.jwk_config: is required by the module `jwk-token`"),
    (MINIMAL + "authentication: {module: rh-identity}\n", "authentication.rh_identity_config: is required by the module `rh-identity`"),
    (MINIMAL + "authentication: {api_key_config: {api_key: ''}}\n", "authentication.api_key_config.api_key: must not be empty"),
    (MINIMAL + "rlsapi_v1: {quota_subject: org_id}\n", "rlsapi_v1.quota_subject: `org_id` needs the authentication module `rh-identity`"),
    (MINIMAL + "splunk: {enabled: true}\n", ["splunk.url: is required when `enabled` is true", "splunk.token_path: is required when `enabled` is true", "splunk.index: is required when `enabled` is true"]),
    (MINIMAL + "splunk: {enabled: true, url: nowhere, token_path: FILE, index: i}\n", "splunk.url: must be an http or https URL"),
    # lists
    (MINIMAL + "mcp_servers: [{name: a, url: 'http://h'}, {name: b, url: 'http://h'}, {name: a, url: 'http://i'}]\n", "mcp_servers[2].name: is the name of another server too"),
    (MINIMAL + "mcp_servers: [{name: a, url: 'http://h', headers: [X-A, ' ', x-a]}]\n", ["mcp_servers[0].headers[1]: must not be blank", "mcp_servers[0].headers[2]: is given twice; upper and lower case are the same"]),
    (MINIMAL + "mcp_servers: [{name: a, url: 'http://h', authorization_headers: {A: client, a: oauth}}]\n", "mcp_servers[0].authorization_headers.a: is given twice; upper and lower case are the same"),
    (MINIMAL + "mcp_servers: [{name: a, url: 'http://h', authorization_headers: {A: ''}}]\n", "mcp_servers[0].authorization_headers.A: must not be empty"),
    (MINIMAL + "mcp_servers: [{name: a, url: 'http://h', require_approval: {always: [x], never: [x]}}]\n", "mcp_servers[0].require_approval.never: names a tool that `always` names too"),
    (MINIMAL + "byok_rag: [{rag_id: r, vector_db_id: v, db_path: d}, {rag_id: r, vector_db_id: w, db_path: d}]\n", "byok_rag[1].rag_id: is the id of another store too"),
    (MINIMAL + "byok_rag: [{rag_id: okp, vector_db_id: v, db_path: d}]\n", "byok_rag[0].rag_id: `okp` is the id of the Offline Knowledge Portal; choose another"),
    (MINIMAL + "quota_handlers: {limiters: [{type: user_limiter, name: n, initial_quota: 1, quota_increase: 1, period: -1 day}]}\n", "quota_handlers.limiters[0].period: must be a length of time above zero, such as `1 day` or `2 hours`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BROKEN)
def test_a_broken_file(tmp_path: Path, text: str, expected: str | list[str]) -> None:
    assert problems(tmp_path, text) == ([expected] if isinstance(expected, str) else expected)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("operator: like, value: a, roles: [r]", "operator: must be `equals`, `contains`, `in` or `match`"),
        ("operator: match, value: '(', roles: [r]", "value: must be a valid regular expression for the operator `match`"),
        ("operator: match, value: 3, roles: [r]", "value: must be text for the operator `match`"),
        ("operator: in, value: abc, roles: [r]", "value: must be a list for the operator `in`"),
        ("operator: equals, value: [a], roles: []", "roles: must not be empty"),
        ("operator: equals, value: [a], roles: [r, r]", "roles[1]: is given twice"),
        ("operator: equals, value: [a], roles: ['*']", "roles[0]: `*` is everyone's role and cannot be given by a rule"),
    ],
)  # fmt: skip
def test_a_broken_role_rule(tmp_path: Path, rule: str, expected: str) -> None:
    rules = f"jwt_configuration: {{role_rules: [{{jsonpath: $.a, {rule}}}]}}"
    text = MINIMAL + f"authentication: {{jwk_config: {{url: 'http://keys', {rules}}}}}\n"
    path = "authentication.jwk_config.jwt_configuration.role_rules[0]."
    assert problems(tmp_path, text) == [path + expected]


@pytest.mark.parametrize(
    ("key", "content", "expected"),
    [
        ("profile_path", "raise RuntimeError('hunter2')", "the module fails with RuntimeError"),
        ("profile_path", "import sys; sys.exit('hunter2')", "the module fails with SystemExit"),
        ("profile_path", "hunter2 = (", "the module fails with SyntaxError"),
        ("profile_path", "A = 1", "the module must define `PROFILE_CONFIG` with a dict `system_prompts`"),
        (
            "profile_path",
            "PROFILE_CONFIG = {'system_prompts': {'default': 1}}",
            "the keys and values of `system_prompts` must be text",
        ),
        ("agent_card_path", "- hunter2", "the file must hold a mapping"),
        ("agent_card_path", "a: b: c",
         "line 1, column 5: is not valid YAML: a `:` is in the wrong place; indent with care, or put the value in quotes"),
        ("system_prompt_path", b"\xff", "the file cannot be read as UTF-8 text"),
    ],
)  # fmt: skip
def test_a_broken_file_of_the_customization(
    tmp_path: Path, key: str, content: str | bytes, expected: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert problems(tmp_path, MINIMAL + f"customization: {{{key}: {file}}}\n") == [
        f"customization.{key}: {expected}"
    ]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = MINIMAL.replace("8080", "0").replace("xyzzy", "'${env.STACK_KEY}'") + (
        "byok_rag: [{rag_id: '${env.NONE:=}'}, {rag_id: r, vector_db_id: '${env.STORE}', db_path: 5}]\nx: 1\n"
    )
    assert problems(tmp_path, text) == [
        "llama_stack.api_key: the environment variable STACK_KEY is not set or empty",
        "byok_rag[1].vector_db_id: the environment variable STORE is not set or empty",
        "service.port: must be greater than 0",
        "byok_rag[1].db_path: must be a path",
        "unknown key `x`",
    ]


def test_a_missing_variable_is_told_once(tmp_path: Path) -> None:
    assert problems(tmp_path, MINIMAL.replace("8080", "'${env.PORT}'")) == [
        "service.port: the environment variable PORT is not set or empty"
    ]


def test_variables_take_the_type_of_their_key(tmp_path: Path) -> None:
    text = MINIMAL.replace("8080", "'${env.PORT}'").replace("xyzzy", "'${env.KEY}'")
    text = text.replace("color_log: true", "color_log: '${env.COLOR:=false}'")
    text += (
        "compaction: {threshold_ratio: '${env.RATIO}'}\nmcp_servers: [{name: '${env.NONE:+m}', url: ''}]\n"
    )
    text += "okp: {chunk_filter_query: '${env.NONE:=}'}\n"
    environment = {"PORT": "9000", "KEY": "0012345", "RATIO": "0.5"}
    configuration = load(tmp_path, text, environment)
    assert configuration.service.port == 9000
    assert configuration.service.color_log is False
    assert configuration.compaction.threshold_ratio == 0.5
    assert configuration.mcp_servers == ()
    assert configuration.okp.chunk_filter_query is None
    assert configuration.llama_stack.api_key is not None
    assert configuration.llama_stack.api_key.get_secret_value() == "0012345"


SECRET = "c4nary-hunter2"


@pytest.mark.parametrize(
    "section",
    [
        "llama_stack: {url: 'http://u:SECRET@h:port', api_key: [SECRET]}",
        "llama_stack: {url: 'SECRET', api_key: {SECRET: SECRET}}",
        "database: {postgres: {db: d, user: [u], password: [SECRET]}}",
        "database: {postgres: {db: d, user: u, password: SECRET, port: SECRET, ssl_mode: SECRET}}",
        "authentication: {module: SECRET, api_key_config: SECRET}",
        "authentication: {api_key_config: {api_key: [SECRET]}, jwk_config: {url: 'SECRET'}}",
        "azure_entra_id: {tenant_id: SECRET, client_id: [SECRET]}",
        "azure_entra_id: SECRET",
        "mcp_servers: [{name: n, url: SECRET, authorization_headers: {A: [SECRET]}, timeout: SECRET}]",
        "mcp_servers: [{name: n, url: 'http://h', authorization_headers: SECRET, require_approval: SECRET}]",
        "splunk: {enabled: true, token_path: SECRET, url: 'SECRET'}",
        "okp: {rhokp_url: '${env.CREDENTIALS}', offline: '${env.CREDENTIALS}'}",
        "service: {port: '${env.CREDENTIALS}', tls_config: {tls_key_password: '${env.CREDENTIALS}'}}",
        "quota_handlers: {limiters: [{type: SECRET, name: [SECRET], initial_quota: SECRET, period: SECRET}]}",
        "database: {postgres: {db: '${env.CREDENTIALS}${env.NONE}', user: u, password: p}}",
    ],
)
def test_no_secret_in_a_message(tmp_path: Path, section: str) -> None:
    name = section.partition(":")[0]
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(name)]
    text = "\n".join([*lines, section.replace("SECRET", SECRET)])
    told = "\n".join(problems(tmp_path, text, {"CREDENTIALS": SECRET})).replace(f"unknown key `{SECRET}`", "")
    assert told
    assert SECRET not in told


def test_a_dump_masks_secrets(tmp_path: Path) -> None:
    text = MINIMAL.replace("xyzzy", SECRET).replace("http://localhost", f"http://user:{SECRET}@localhost")
    text += f"""
database: {{postgres: {{db: d, user: u, password: {SECRET}}}}}
mcp_servers:
- name: n
  url: https://user:{SECRET}@h:1/mcp?api_key={SECRET}&page=2
  authorization_headers: {{A: {SECRET}, B: client, C: oauth, D: kubernetes}}
authentication: {{api_key_config: {{api_key: {SECRET}}}}}
customization: {{agent_card_config: {{links: ['https://{SECRET}@h/']}}}}
azure_entra_id: {{tenant_id: {SECRET}, client_id: {SECRET}, client_secret: {SECRET}}}
splunk: {{url: 'https://u:{SECRET}@h/'}}
"""
    dump = masked(load(tmp_path, text))
    assert SECRET not in json.dumps(dump)
    assert dump["llama_stack"]["url"] == "http://**********@localhost:8321/"
    assert dump["database"]["postgres"]["password"] == "**********"
    assert dump["mcp_servers"][0]["url"] == "https://**********@h:1/mcp?api_key=**********&page=2"
    headers = {"A": "**********", "B": "client", "C": "oauth", "D": "kubernetes"}
    assert dump["mcp_servers"][0]["authorization_headers"] == headers


def test_a_dump_keeps_what_is_no_secret(tmp_path: Path) -> None:
    dump = masked(load_configuration(complete_file(tmp_path), {}))
    assert list(dump)[:4] == ["name", "service", "llama_stack", "user_data_collection"]
    assert dump["service"]["base_url"] == "https://assistant.example.com"
    assert dump["authorization"]["access_rules"][0] == {"role": "*", "actions": ["query", "info"]}
    assert dump["byok_rag"][0]["db_path"] == str(Path("~/d").expanduser())


@pytest.mark.parametrize("section", ["", "database: {}\n", "database: {sqlite: null}\n"])
def test_without_a_database_sqlite_in_the_state_directory(tmp_path: Path, section: str) -> None:
    database = load(tmp_path, MINIMAL + section).database
    assert database.postgres is None
    assert database.sqlite is not None
    assert database.sqlite.db_path == tmp_path / "state" / "lightspeed-stack.db"


def test_a_database_that_is_given_stays_alone(tmp_path: Path) -> None:
    database = load(tmp_path, MINIMAL + "database: {postgres: {db: d, user: u, password: p}}\n").database
    assert database.sqlite is None
    assert database.postgres is not None


def test_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"LIGHTSPEED_STATE": str(tmp_path / "a"), "XDG_DATA_HOME": str(tmp_path / "b")}
    assert state_directory(chosen) == tmp_path / "a"
    assert state_directory({"XDG_DATA_HOME": str(tmp_path / "b")}) == tmp_path / "b" / "lightspeed"
    monkeypatch.chdir(tmp_path)
    assert state_directory({"LIGHTSPEED_STATE": "here"}) == tmp_path / "here"
    assert state_directory({}).name == "lightspeed"
    assert state_directory({}).is_absolute()


def test_relative_paths_start_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    text = MINIMAL.replace("use_as_library_client: false", "use_as_library_client: true").replace(
        "url:", "library_client_config_path: run.yaml, url:"
    )
    assert problems(there, text) == ["llama_stack.library_client_config_path: no such file"]
    (there / "run.yaml").touch()
    assert load(there, text).llama_stack.library_client_config_path == there / "run.yaml"
    (here / "run.yaml").touch()
    assert load(there, text).llama_stack.library_client_config_path == Path("run.yaml")


def test_the_import_stays_small() -> None:
    program = (
        "import sys, lightspeed.configuration.loading, lightspeed.configuration.hints; print(*sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    packages = {name.partition(".")[0] for name in output.split()} - set(sys.stdlib_module_names)
    allowed = {"lightspeed", "pydantic", "pydantic_core", "annotated_types", "typing_inspection"}
    allowed |= {"typing_extensions", "yaml", "_yaml", "cython_runtime"}
    assert {name for name in packages if not name.startswith(("_", "sitecustomize"))} <= allowed


def test_skills_may_lie_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there" / "triage").mkdir(parents=True)
    (tmp_path / "here" / "expiry").mkdir(parents=True)
    file = tmp_path / "there" / "lightspeed-stack.yaml"
    file.write_text(MINIMAL + "skills: {paths: [triage, expiry]}\n")
    monkeypatch.chdir(tmp_path / "here")
    skills = load_configuration(file, {}).skills
    assert skills is not None
    assert skills.paths == (tmp_path / "there" / "triage", Path("expiry"))
