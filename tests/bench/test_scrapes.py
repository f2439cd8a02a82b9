"""Paths that are not answered well are faults, and no measurements."""

from pathlib import Path

import pytest

from tests.bench import service
from tests.bench.rounds import FaultError
from tests.bench.scrapes import scrapes


def test_a_path_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with service.floor(tmp_path, "http://127.0.0.1:1/v1") as floor:
        floor.wait_for("/liveness", 60)
        with pytest.raises(FaultError, match="/metrics: status 404"):
            list(scrapes("floor", floor, seconds=0.1))
