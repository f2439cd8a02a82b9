"""Questions with known answers out of Debian's documentation packages; fetched, unpacked, never kept."""

import gzip
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

_WORDS = 180  # of a chunk; more is cut off by the model
_FEWEST_WORDS = 8
_HEADINGS = ("head1", "head2", "head3", "head4")
_PARTS_OF_A_PAGE = 3

# Headings that ask nothing, and manuals that repeat others or list changes.
_NO_QUESTIONS = {
    "DESCRIPTION",
    "AUTHOR",
    "AUTHORS",
    "NAME",
    "SYNOPSIS",
    "AUTHOR AND COPYRIGHT",
    "SEE ALSO",
    "BUGS",
}
_LEFT_OUT = re.compile(r"perl(\d+delta|.*delta|hist|toc|diag$|cn|jp|ko|tw|modlib|uniprops)")

_LINKS = re.compile(r"L<(?:([^<>|]*)\|)?([^<>]*)>")
_CODES = re.compile(r"[BCFIS]<(?:<+ )?([^<>]*?)(?: >+)?>")
_SIGNS = {"lt": "\x01", "gt": "\x02", "sol": "/", "verbar": "|"}


@dataclass(frozen=True, slots=True)
class Corpus:
    """`sections` are cut into chunks of (section number, text); `questions` are (section number, text)."""

    name: str
    chunks: list[tuple[int, str]]
    questions: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class _Section:
    source: str
    heading: str
    text: str


def corpora(folder: Path) -> list[Corpus]:
    """Fetches the packages into `folder`; needs apt and its lists, but no root."""
    pods = next((_unpacked(folder, "perl-doc") / "usr/share/perl").glob("*/pod"))
    version = ".".join(pods.parent.name.split(".")[:2])
    modules = _unpacked(folder, f"perl-modules-{version}")
    diagnostics = list(
        _sections(next(modules.glob("usr/share/perl/*/pod/perldiag.pod")), (*_HEADINGS, "item"))
    )
    manual = list(chain.from_iterable(_sections(path, _HEADINGS) for path in _manuals(pods)))
    return [
        _corpus("perlfaq: question to answer", manual, re.compile(r"perlfaq\d")),
        _corpus("perldiag: message to explanation", manual + diagnostics, re.compile("perldiag")),
        _manual_pages(_unpacked(folder, "manpages-dev") / "usr/share/man"),
    ]


def _unpacked(folder: Path, package: str) -> Path:
    packages = folder / "packages"
    packages.mkdir(exist_ok=True)
    subprocess.run(["apt-get", "download", "-q", package], cwd=packages, check=True, capture_output=True)
    root = folder / package
    subprocess.run(["dpkg", "-x", next(packages.glob(f"{package}_*.deb")), root], check=True)
    return root


def _manuals(pods: Path) -> list[Path]:
    return [path for path in sorted(pods.glob("perl*.pod")) if not _LEFT_OUT.match(path.stem)]


def _corpus(name: str, sections: list[_Section], asked: re.Pattern[str]) -> Corpus:
    chunks = [(number, text) for number, section in enumerate(sections) for text in _pieces(section.text)]
    questions = [
        (number, section.heading)
        for number, section in enumerate(sections)
        if asked.match(section.source) and section.heading not in _NO_QUESTIONS
    ]
    return Corpus(name, chunks, questions)


def _sections(path: Path, kinds: tuple[str, ...]) -> Iterator[_Section]:
    """What stands below each heading, without the heading."""
    heading, parts = "", [""]
    for paragraph in [*re.split(r"\n\s*\n", path.read_text(errors="replace")), "=head1 END"]:
        begins = re.match(r"=(head[1-4]|item)\s+(.*)", paragraph.strip(), re.DOTALL)
        if begins and begins[1] in kinds:
            text = "\n\n".join(parts)
            if heading and len(text.split()) >= _FEWEST_WORDS:
                yield _Section(path.stem, heading, text)
            heading, parts = _plain(" ".join(begins[2].split())), []
        elif not paragraph.lstrip().startswith("="):
            parts.append(_plain(paragraph).rstrip())


def _plain(text: str) -> str:
    text = re.sub(r"X<[^<>]*>", "", text)
    text = re.sub(r"E<(\w+)>", lambda found: _SIGNS.get(found[1], ""), text)
    for _ in range(4):  # codes within codes
        text = _CODES.sub(r"\1", _LINKS.sub(lambda found: found[1] or found[2].strip("/"), text))
    return text.replace("\x01", "<").replace("\x02", ">")


def _pieces(text: str) -> list[str]:
    words = re.findall(r"\S+\s*", text)
    return ["".join(words[start : start + _WORDS]).strip() for start in range(0, len(words), _WORDS)]


def _manual_pages(root: Path) -> Corpus:
    chunks: list[tuple[int, str]] = []
    questions: list[tuple[int, str]] = []
    pages = (path for path in sorted(root.glob("man[23]/*.gz")) if path.is_file() and not path.is_symlink())
    for number, path in enumerate(pages):
        parts = re.split(
            r'(?m)^\.SH "?([^"\n]*)"?\n', gzip.decompress(path.read_bytes()).decode(errors="replace")
        )
        sections = {name: _unformatted(text) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
        _, _, purpose = sections.get("NAME", "").partition(" - ")
        pieces = _pieces(sections.get("DESCRIPTION", ""))[:_PARTS_OF_A_PAGE]
        if purpose and pieces and len(pieces[0].split()) >= _FEWEST_WORDS:
            questions.append((number, " ".join(purpose.split())))
            chunks += [(number, piece) for piece in pieces]
    return Corpus("manual pages: purpose to description", chunks, questions)


def _unformatted(text: str) -> str:
    text = re.sub(
        r'(?m)^\.(?:\\"|TS|TE|sp|nf|fi|PP|TP|IP|RS|RE|in|P|B|I|BR|IR|RB|RI|BI|IB|SM|EX|EE)\b(.*)$',
        r"\1",
        text,
    )
    text = re.sub(r"(?m)^[.'].*$", "", text)
    text = text.replace("\\-", "-").replace("\\(aq", "'").replace("\\(lq", '"').replace("\\(rq", '"')
    text = re.sub(r"\\f(?:\(..|\[[^]]*\]|.)|\\[&/,|^%]|\\\((?:..)|\\s[-+]?\d", "", text)
    return text.replace("\\e", "\\")
