import re
import uuid

import pytest

from lightspeed.storage.identifiers import file_name, new_conversation_id, normalize_conversation_id

NATIVE = "0123456789abcdef" * 3
DASHED = "123e4567-e89b-42d3-a456-426614174000"


def test_a_new_id_is_in_its_stored_form_and_new() -> None:
    first, second = new_conversation_id(), new_conversation_id()
    assert first != second
    assert len(first) == 48
    assert normalize_conversation_id(first) == first


@pytest.mark.parametrize(
    "spelling", [NATIVE, NATIVE.upper(), f"conv_{NATIVE}", f"conv_{NATIVE.upper()}", f"CONV_{NATIVE}"]
)
def test_native_ids(spelling: str) -> None:
    assert normalize_conversation_id(spelling) == NATIVE


@pytest.mark.parametrize(
    "spelling",
    [
        DASHED,
        DASHED.upper(),
        DASHED.replace("-", ""),
        f"{{{DASHED}}}",
        f"urn:uuid:{DASHED}",
        f"URN:UUID:{DASHED}",
    ],
)
def test_uuids(spelling: str) -> None:
    assert normalize_conversation_id(spelling) == DASHED
    assert uuid.UUID(DASHED) == uuid.UUID(spelling.lower())


@pytest.mark.parametrize(
    "value",
    [
        "",
        "abc",
        f"conv_{DASHED}",
        f"conv_conv_{NATIVE}",
        NATIVE[:-1],
        NATIVE + "0",
        f" {NATIVE}",
        f"{NATIVE}\n",
        f" {NATIVE[1:]}",
        f"+{NATIVE[1:]}",
        f"{NATIVE[:23]}_{NATIVE[24:]}",
        f"0x{NATIVE[2:]}",
        "0x" + DASHED.replace("-", "")[2:],
        "\uff11" * 48,
        "\u212a" + NATIVE[1:],
        "../" * 16,
        "..",
        "\x00",
    ],
)
def test_other_values_are_no_ids(value: str) -> None:
    assert normalize_conversation_id(value) is None


def test_a_plain_identifier_is_its_own_file_name() -> None:
    assert file_name(DASHED) == DASHED


@pytest.mark.parametrize(
    "odd", ["", ".", "..", "a/b", "../x", "a.b", "a\x00", "\ud800", "é", "x" * 101, "a\n"]
)
def test_any_other_identifier_gets_a_plain_one(odd: str) -> None:
    assert file_name(odd) == file_name(odd)
    assert re.fullmatch("[0-9a-f]{64}", file_name(odd))
