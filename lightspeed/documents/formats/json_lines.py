"""JSON lines: a section for each record."""

from lightspeed.documents.formats.format import Format
from lightspeed.documents.formats.json import read_lines

FORMAT = Format(suffixes=frozenset({".jsonl", ".ndjson"}), read=read_lines)
