"""Files are parsed in another process, whatever they do to it."""

import pickle
import signal
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from lightspeed.documents.document import EmptyDocument, UnsupportedFormat, parse_document
from lightspeed.documents.finding import DocumentError
from lightspeed.documents.parsing import DocumentParser
from lightspeed.documents.parsing_process import LENGTH
from lightspeed.errors import Unavailable

pytestmark = pytest.mark.anyio

PRINTING = """
parse = p.parse_document
def printing(**request):
    print("from Python", flush=True)
    os.write(1, b"from a library")
    return parse(**request)
p.parse_document = printing
p._main(2_000_000_000, 60)
"""
MARKDOWN = b"# Kettles\n\nThe kettle hums.\n\n## Care\n\nDescale it every forty days.\n"


def pdf(content: bytes, *, length: int) -> bytes:
    """One page that shows `length` bytes of text commands, compressed."""
    packer = zlib.compressobj(9)
    times = length // len(content)
    stream = b"".join(packer.compress(content * 1000) for _ in range(times // 1000)) + packer.flush()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Filter /FlateDecode /Length %d >>\nstream\n" % len(stream) + stream + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(data)
    return data + b"xref\n0 6\n0000000000 65535 f \n" + table + end


async def test_a_document_is_the_same_as_from_this_process() -> None:
    async with DocumentParser() as parser:
        found = await parser.parse(MARKDOWN, name="kettle.md", path="/docs/kettle.md")
    here = partial(parse_document, MARKDOWN, name="kettle.md", path="/docs/kettle.md")
    assert found == await to_thread.run_sync(here)


@pytest.mark.parametrize(
    ("name", "data", "kind", "message"),
    [
        ("a.bin", b"data", UnsupportedFormat, "folder/a.bin: unsupported type .bin"),
        ("a.md", b" \n", EmptyDocument, "folder/a.md: no text"),
        ("a.pdf", b"%PDF-1.4 no more", DocumentError, "folder/a.pdf: broken PDF"),
        ("a.txt", b"more than ten", DocumentError, "folder/a.txt: 13 bytes, more than the limit of 10"),
    ],
)
async def test_errors_are_the_same(name: str, data: bytes, kind: type[DocumentError], message: str) -> None:
    limit = 10 if name == "a.txt" else 1000
    async with DocumentParser() as parser:
        with pytest.raises(kind) as raised:
            await parser.parse(data, name=name, path=f"folder/{name}", max_bytes=limit)
    assert type(raised.value) is kind
    assert str(raised.value) == message


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is bounded on Linux only")
async def test_a_file_that_fills_the_memory_fails_alone() -> None:
    bomb = pdf(b"BT /F1 9 Tf (knowledge) Tj ET ", length=60_000_000)
    assert len(bomb) < 500_000
    async with DocumentParser(memory_bytes=500_000_000) as parser:
        with pytest.raises(DocumentError, match=r"^bomb\.pdf: (ends its parser: .*|needs) more than 0\.5 GB"):
            await parser.parse(bomb, name="bomb.pdf")
        assert (await parser.parse(MARKDOWN, name="kettle.md")).title == "Kettles"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is bounded on Linux only")
@pytest.mark.parametrize("size", [10, 40_000_000])
async def test_a_process_that_ends_before_it_has_read_the_file(size: int) -> None:
    async with DocumentParser(memory_bytes=20_000_000) as parser:
        with pytest.raises(DocumentError, match=r"^a\.txt: (ends its parser: .*|needs) more than 0\.02 GB"):
            await parser.parse(b"x" * size, name="a.txt")


async def test_a_file_that_takes_too_long_is_given_up() -> None:
    endless = b"".join(b"# Part %d\n\nSome *words* here.\n\n" % number for number in range(200_000))
    async with DocumentParser(seconds=2) as parser:
        with pytest.raises(DocumentError, match=r"^endless\.md: cannot be read within 2 s$"):
            await parser.parse(endless, name="endless.md")
    async with DocumentParser() as parser:
        assert (await parser.parse(MARKDOWN, name="kettle.md")).title == "Kettles"


async def test_the_process_serves_one_file_after_the_other_and_ends_with_the_context() -> None:
    parser = DocumentParser()
    async with parser:
        for number in range(20):
            assert (await parser.parse(b"# T%d\n\ntext" % number, name="a.md")).title == f"T{number}"
        process = parser._process
        assert process is not None
        assert process.returncode is None
    assert process.returncode is not None


async def test_who_waits_for_a_file_may_be_cancelled() -> None:
    endless = b"".join(b"# Part %d\n\nSome *words* here.\n\n" % number for number in range(200_000))
    async with DocumentParser() as parser:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: parser.parse(endless, name="endless.md"))
            while (process := parser._process) is None:  # noqa: ASYNC110 (nothing tells)
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        assert process.returncode is not None
        assert (await parser.parse(MARKDOWN, name="kettle.md")).title == "Kettles"


async def test_a_process_that_has_gone_since_the_last_file_is_replaced() -> None:
    async with DocumentParser() as parser:
        await parser.parse(MARKDOWN, name="kettle.md")
        process = parser._process
        assert process is not None
        process.kill()
        await process.wait()
        assert (await parser.parse(MARKDOWN, name="kettle.md")).title == "Kettles"


async def test_modules_in_the_folder_of_the_user_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await anyio.Path(tmp_path / "pickle.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    async with DocumentParser() as parser:
        assert (await parser.parse(MARKDOWN, name="kettle.md")).title == "Kettles"


async def test_a_process_that_cannot_start_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with DocumentParser() as parser:
        with pytest.raises(Unavailable, match="No such file or directory"):
            await parser.parse(MARKDOWN, name="kettle.md")


def test_a_process_whose_parent_has_gone_ends_by_itself() -> None:
    endless = b"".join(b"# Part %d\n\nSome *words* here.\n\n" % number for number in range(200_000))
    asked = pickle.dumps({"data": endless, "name": "endless.md"})
    ended = subprocess.run(
        [sys.executable, "-m", "lightspeed.documents.parsing_process", "2000000000", "-9"],
        input=LENGTH.pack(len(asked)) + asked,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGALRM, b"")


def test_what_a_parser_prints_does_not_stand_among_the_answers() -> None:
    asked = pickle.dumps({"data": MARKDOWN, "name": "kettle.md"})
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import lightspeed.documents.parsing_process as p, os\n{PRINTING}",
            "2000000000",
        ],
        input=LENGTH.pack(len(asked)) + asked,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    assert pickle.loads(told[LENGTH.size :]).title == "Kettles"
