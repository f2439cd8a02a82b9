import re
from pathlib import Path
from typing import Any

import pytest

from lightspeed.errors import ConfigurationError
from lightspeed.tools.skills.skills import Skills
from tests.example_files import ROOT
from tests.tools.skills.folders import DESCRIPTION, INSTRUCTIONS, loaded, skill_text, write_skill


def problems(*paths: Path, **settings: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        loaded(*paths, **settings)
    # The files of the machine are nobody's business.
    assert not any(str(path) in problem for path in paths for problem in raised.value.problems)
    return raised.value.problems


def test_a_directory_of_one_skill(tmp_path: Path) -> None:
    path = write_skill(tmp_path, files={"references/limits.md": "90 %"})
    (skill,) = loaded(path).catalogue
    assert (skill.name, skill.description) == ("disk-triage", DESCRIPTION)
    assert (skill.instructions, skill.files) == (INSTRUCTIONS, ("references/limits.md",))


def test_directories_of_several_skills(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_skill(tmp_path / "many", name)
    (tmp_path / "many" / "README.md").touch()
    (tmp_path / "many" / ".git").mkdir()
    single = write_skill(tmp_path, "c")
    skills = loaded(single, tmp_path / "many")
    assert [skill.name for skill in skills.catalogue] == ["c", "a", "b"]


def test_without_paths_there_is_nothing() -> None:
    for skills in (loaded(), Skills.load(None)):
        assert list(skills.catalogue) == []


def test_a_name_is_that_of_the_path_as_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_skill(tmp_path)
    monkeypatch.chdir(tmp_path / "disk-triage")
    assert [skill.name for skill in loaded(Path()).catalogue] == ["disk-triage"]
    (tmp_path / "link").symlink_to("disk-triage")
    assert problems(tmp_path / "link") == [
        "skills.paths[0]: SKILL.md: name: must be the name of the skill's directory"
    ]


def test_all_mistakes_in_all_skills_are_told(tmp_path: Path) -> None:
    many = tmp_path / "many"
    write_skill(many, "right")
    write_skill(many, "wrong", skill_text("other", description='""'))
    (many / "without").mkdir()
    (many / "linked").mkdir()
    (many / "linked" / "SKILL.md").symlink_to(tmp_path / "elsewhere.md")
    (tmp_path / "elsewhere.md").write_text(skill_text("linked"))
    (tmp_path / "empty").mkdir()
    write_skill(tmp_path / "again", "right")
    assert problems(many, tmp_path / "empty", tmp_path / "again") == [
        "skills.paths[0]: linked: SKILL.md: leads out of the skill's directory",
        "skills.paths[0]: without: SKILL.md: does not exist",
        "skills.paths[0]: wrong: SKILL.md: name: must be the name of the skill's directory",
        "skills.paths[0]: wrong: SKILL.md: description: must not be empty",
        "skills.paths[1]: holds neither SKILL.md nor directories of skills",
        "skills.paths[2]: right: `right` is the name of another skill too",
    ]


def test_the_same_directory_twice(tmp_path: Path) -> None:
    path = write_skill(tmp_path / "many")
    expected = "skills.paths[1]: disk-triage: `disk-triage` is the name of another skill too"
    assert problems(path, path.parent) == [expected]


def test_sizes_and_numbers_are_limited(tmp_path: Path) -> None:
    path = write_skill(tmp_path, files={"a": "", "b": "", "large": "x" * 1000})
    assert problems(path, max_file_bytes=100) == [
        "skills.paths[0]: SKILL.md: is larger than the limit of 100 bytes"
    ]
    assert problems(path, max_files=2) == ["skills.paths[0]: has more than 2 files"]
    assert len(loaded(path, max_file_bytes=200, max_files=3).catalogue) == 1
    for number in range(3):
        write_skill(tmp_path / "many", f"skill-{number}")
    assert problems(tmp_path / "many", max_skills=2) == [
        "skills.paths[0]: skill-2: there are more than `max_skills` = 2 skills"
    ]


def test_a_manifest_that_is_not_text(tmp_path: Path) -> None:
    path = write_skill(tmp_path)
    (path / "SKILL.md").write_bytes(b"---\nname: \xff\n---\n")
    expected = "skills.paths[0]: SKILL.md: is a binary file; only text in UTF-8 can be read"
    assert problems(path) == [expected]


def test_the_examples_are_right() -> None:
    skills = loaded(ROOT / "examples" / "skills").catalogue
    assert [skill.name for skill in skills] == ["certificate-expiry", "disk-triage"]
    for skill in skills:
        # What the instructions name is there.
        named = re.findall(r"`((?:references|scripts)/[^`]+)`", skill.instructions)
        assert set(named) == set(skill.files)
