import pytest
from pydantic import ValidationError

from lightspeed.configuration.retention import RetentionConfiguration


def test_everything_is_kept_unless_an_age_is_given() -> None:
    assert not RetentionConfiguration().given
    nothing = {"conversations_days": None, "transcripts_days": None, "feedback_days": None}
    assert RetentionConfiguration(**nothing) == RetentionConfiguration()


@pytest.mark.parametrize("key", ["conversations_days", "transcripts_days", "feedback_days"])
def test_an_age_is_a_number_of_days(key: str) -> None:
    configuration = RetentionConfiguration(**{key: 30})
    assert configuration.given
    assert configuration.model_dump()[key] == 30
    for wrong in (0, -1, 1.5, True, "soon"):
        with pytest.raises(ValidationError):
            RetentionConfiguration(**{key: wrong})


def test_other_keys_are_refused() -> None:
    with pytest.raises(ValidationError):
        RetentionConfiguration(interval_hours=1)
