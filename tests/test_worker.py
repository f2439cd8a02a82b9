"""What goes through the pipe between a worker process and its parent."""

import pickle
from pathlib import Path

import pytest

from lightspeed.configuration.loading import load_configuration
from lightspeed.errors import ConfigurationError, LightspeedError, NotFound, StartupError
from lightspeed.plan import Plan
from lightspeed.runtime import WorkerPlace
from lightspeed.worker import Assignment, portable
from tests.configuration.complete import complete_file


def test_an_assignment_with_every_key_of_the_configuration(tmp_path: Path) -> None:
    configuration = load_configuration(complete_file(tmp_path), {})
    plan = Plan(configuration, {"version": 2, "providers": {"inference": []}}, tmp_path / "run.yaml")
    assignment = Assignment(plan, WorkerPlace(1, 2), load_first=True, log_level="INFO", verbose=False)
    assert pickle.loads(pickle.dumps(assignment)) == assignment


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ConfigurationError(["a: wrong", "b: wrong"]), ConfigurationError, "a: wrong\nb: wrong"),
        (StartupError("no database"), StartupError, "no database"),
        (NotFound("Model", "m"), LightspeedError, "Model not found: Model with ID m does not exist"),
        (OSError("two\nlines"), LightspeedError, "OSError: two lines (-v tells more)"),
        (SystemExit(3), StartupError, "the application cannot start; the log says why"),
    ],
)
def test_errors_keep_their_text_and_exit_code(
    error: BaseException, kind: type[LightspeedError], text: str
) -> None:
    told = pickle.loads(pickle.dumps(portable(error)))
    assert type(told) is kind
    assert str(told) == text
    if isinstance(error, ConfigurationError):
        assert told.problems == error.problems
