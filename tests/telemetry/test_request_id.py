from uuid import UUID

import pytest

from lightspeed.telemetry.request_id import request_id_from


@pytest.mark.parametrize("given", [b"a", b"Root=1-5759e988-bd862e3f;".rstrip(b";"), b"x" * 128])
def test_harmless_ids_are_kept(given: bytes) -> None:
    assert request_id_from(given) == given.decode()


@pytest.mark.parametrize("given", [None, b"", b"x" * 129, b"a b", b"a\n", b"\xff", b"a\x1b[31m"])
def test_others_are_replaced(given: bytes | None) -> None:
    assert UUID(request_id_from(given)).version == 4
