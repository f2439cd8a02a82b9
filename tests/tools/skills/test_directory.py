import os
import threading
from pathlib import Path

import pytest

from lightspeed.tools.skills.directory import SkillDirectory, SkillFileError
from tests.tools.skills.folders import write_skill

SECRET = "the secret of another place"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.md").write_text(SECRET)
    return folder


@pytest.fixture
def skill(tmp_path: Path) -> Path:
    files: dict[str, str | bytes] = {
        "references/limits.md": "90 %\n",
        "scripts/check.sh": "df -h && echo <done>\n",
        "assets/deep/er/notes.txt": "notes",
        ".git/config": "hidden",
        "scripts/__pycache__/check.pyc": b"\x00",
    }
    return write_skill(tmp_path / "skills", files=files)


def refusal(directory: SkillDirectory, name: str, most: int = 1000) -> str:
    with pytest.raises(SkillFileError) as raised:
        directory.read(name, most)
    assert "/" not in str(raised.value)
    return str(raised.value)


def unfit(skill: Path, most: int = 100) -> str:
    with pytest.raises(SkillFileError) as raised:
        SkillDirectory(skill).files(most)
    return str(raised.value)


def test_all_files_that_are_not_hidden(skill: Path) -> None:
    expected = ["assets/deep/er/notes.txt", "references/limits.md", "scripts/check.sh"]
    assert SkillDirectory(skill).files(3) == expected
    assert SkillDirectory(skill.parent, skill.name).files(3) == expected


def test_a_file_is_read_as_it_is(skill: Path) -> None:
    assert SkillDirectory(skill).read("scripts/check.sh", 1000) == "df -h && echo <done>\n"
    assert SkillDirectory(skill.parent, skill.name).read("references/limits.md", 5) == "90 %\n"


def test_files_that_cannot_be_read(skill: Path) -> None:
    (skill / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    (skill / "nul.txt").write_bytes(b"a\x00b")
    (skill / "large.txt").write_text("x" * 1001)
    os.mkfifo(skill / "pipe")
    directory = SkillDirectory(skill)
    binary = "is a binary file; only text in UTF-8 can be read"
    assert refusal(directory, "logo.png") == refusal(directory, "nul.txt") == binary
    assert refusal(directory, "large.txt") == "is larger than the limit of 1000 bytes"
    assert directory.read("large.txt", 1001) == "x" * 1001
    assert refusal(directory, "pipe") == refusal(directory, "references") == "is not a file"
    assert refusal(directory, "none.md") == refusal(directory, "SKILL.md/none") == "does not exist"
    assert "pipe" not in directory.files(100)


def test_paths_and_links_that_leave_the_skill_are_refused(skill: Path, outside: Path) -> None:
    (skill / "link.md").symlink_to(outside / "secret.md")
    (skill / "folder").symlink_to(outside)
    directory = SkillDirectory(skill)
    names = ("link.md", "folder/secret.md", "../../outside/secret.md", str(outside / "secret.md"))
    for name in names:
        assert refusal(directory, name) == "leads out of the skill's directory"
    assert unfit(skill) == "folder: leads out of the skill's directory"
    (skill / "folder").unlink()
    assert unfit(skill) == "link.md: leads out of the skill's directory"
    (skill / "link.md").unlink()
    (skill / "lost.md").symlink_to("nowhere")
    assert unfit(skill) == "lost.md: does not exist"


def test_a_directory_whose_name_begins_alike_is_another(skill: Path) -> None:
    other = write_skill(skill.parent, "disk-triage-2")
    assert refusal(SkillDirectory(skill), f"../{other.name}/SKILL.md") == "leads out of the skill's directory"


def test_links_that_stay_inside_are_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: the data lie in a hidden directory, to be replaced as a whole."""
    mounted = tmp_path / "skills"
    for version in ("..1", "..2"):
        write_skill(mounted / version, files={"references/limits.md": f"limits {version}"})
    (mounted / "..data").symlink_to("..1")
    (mounted / "disk-triage").symlink_to("..data/disk-triage")
    directory = SkillDirectory(mounted, "disk-triage")
    directory.check()
    assert directory.files(10) == ["references/limits.md"]
    assert directory.read("references/limits.md", 100) == "limits ..1"
    (mounted / "..new").symlink_to("..2")
    (mounted / "..new").rename(mounted / "..data")
    assert directory.read("references/limits.md", 100) == "limits ..2"


def test_a_skill_that_is_itself_a_link_to_elsewhere(tmp_path: Path, outside: Path) -> None:
    write_skill(outside)
    base = tmp_path / "skills"
    base.mkdir()
    (base / "disk-triage").symlink_to(outside / "disk-triage")
    with pytest.raises(SkillFileError, match="leads out of the skill's directory"):
        SkillDirectory(base, "disk-triage").check()
    assert refusal(SkillDirectory(base, "disk-triage"), "SKILL.md") == "leads out of the skill's directory"
    # The operator may name a link itself.
    SkillDirectory(base / "disk-triage").check()


def test_circles_depth_and_numbers_are_bounded(skill: Path) -> None:
    assert unfit(skill, 2) == "has more than 2 files"
    (skill / "again").symlink_to(".")
    assert unfit(skill) == "again: is a link that leads in a circle"
    (skill / "again").unlink()
    deep = skill / "a/b/c/d/e/f/g/h/i"
    deep.mkdir(parents=True)
    assert unfit(skill) == "a/b/c/d/e/f/g/h: lies more than 8 directories deep"


def test_a_directory_with_masses_of_entries_is_not_walked(skill: Path) -> None:
    for number in range(121):
        (skill / f".{number}").touch()
    assert unfit(skill, 2) == "has more than 2 files"


def test_a_name_that_cannot_be_shown(skill: Path) -> None:
    (skill / "a\nb").touch()
    assert unfit(skill) == r"'a\nb': has a name that cannot be shown"


def test_nobody_gets_out_by_changing_files_while_they_are_read(skill: Path, outside: Path) -> None:
    """A directory is replaced by a link and back, as fast as it goes, while its file is read."""
    directory, folder, stop = SkillDirectory(skill), skill / "references", threading.Event()
    (outside / "limits.md").write_text(SECRET)
    (skill / "link").symlink_to(outside)

    def swap() -> None:
        while not stop.is_set():
            folder.rename(skill / "kept")
            (skill / "link").rename(folder)
            folder.rename(skill / "link")
            (skill / "kept").rename(folder)

    swapping = threading.Thread(target=swap)
    swapping.start()
    texts: set[str] = set()
    refused = 0
    try:
        while refused < 50 or not texts:
            try:
                texts.add(directory.read("references/limits.md", 1000))
            except SkillFileError:
                refused += 1
    finally:
        stop.set()
        swapping.join()
    assert texts == {"90 %\n"}
