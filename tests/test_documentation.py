"""The documentation names only what exists, and names all that has to be known."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from lightspeed.app import ENDPOINTS
from lightspeed.cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_VARIABLE = re.compile(r"\bLIGHTSPEED_[A-Z_]*[A-Z]\b")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
_MOST_WORDS = 150


def pages() -> list[object]:
    return [pytest.param(page, id=page.name) for page in PAGES]


def without_fences(text: str) -> str:
    return _FENCE.sub("", text)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each command of a `sh` fence: its page, and its words without leading assignments."""
    for page in PAGES:
        for language, body in _FENCE.findall(page.read_text()):
            if language != "sh":
                continue
            for line in body.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                while words and _ASSIGNMENT.fullmatch(words[0]):
                    words.pop(0)
                if words:
                    yield page.name, words


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def parse(command: Any, name: str, words: list[str], parent: Any = None) -> None:
    """Parse as the command line does, without running anything. Raises what the parser raises."""
    context = command.make_context(name, list(words), parent=parent)
    rest = [*context._protected_args, *context.args]
    if rest and hasattr(command, "resolve_command"):
        found_name, found, arguments = command.resolve_command(context, rest)
        parse(found, found_name, arguments, context)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = [
        (page, word)
        for page, words in commands()
        if words[0] == "make"
        for word in words[1:]
        if "=" not in word
    ]
    assert {"run", "test"} <= {word for _, word in used}
    assert [pair for pair in used if pair[1] not in targets] == []


def test_commands_and_options_exist() -> None:
    used = [(page, words) for page, words in commands() if Path(words[0]).name == "lightspeed"]
    assert {"serve", "ask", "ingest"} <= {word for _, words in used for word in words}
    root = typer.main.get_command(app)
    for page, words in used:
        try:
            parse(root, "lightspeed", words[1:])
        except Exception as error:
            pytest.fail(f"{page}: {shlex.join(words)}: {error!r}")


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(without_fences(page.read_text())):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in {slug(heading) for heading in _HEADING.findall(target.read_text())}, link


@pytest.mark.parametrize("page", pages())
def test_sections_are_short(page: Path) -> None:
    """Sections are what the assistant finds and reads."""
    parts = re.split(
        r"^#{1,6} ",
        _FENCE.sub(lambda found: found[0].replace("\n#", "\n "), page.read_text()),
        flags=re.MULTILINE,
    )
    long = {
        part.splitlines()[0]: len(without_fences(part).split())
        for part in parts
        if part.strip() and len(without_fences(part).split()) > _MOST_WORDS
    }
    assert long == {}


def test_every_endpoint_is_described() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    missing = [
        endpoint.path
        for endpoint in ENDPOINTS
        if not re.search(rf"{re.escape(endpoint.path)}(?![\w/])", text) or endpoint.method not in text
    ]
    assert missing == []


def test_every_environment_variable_is_described() -> None:
    sources = [
        *(ROOT / "lightspeed").rglob("*.py"),
        *(ROOT / "config").glob("*.yaml"),
        *(ROOT / "examples").rglob("*.yaml"),
    ]
    used = {name for source in sources for name in _VARIABLE.findall(source.read_text())}
    described = {name for page in PAGES for name in _VARIABLE.findall(page.read_text())}
    assert "LIGHTSPEED_STATE" in used
    assert used - described == set()
    assert described - used == set()
