"""Sums of parts are those of the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.checkpoint.crc import Crc64, written

pytest.importorskip("awscrt")


@given(st.lists(st.binary(max_size=50)))
def test_parts_are_joined(parts: list[bytes]) -> None:
    crc = Crc64()
    assert crc.joined((crc.of(part), len(part)) for part in parts) == crc.of(b"".join(parts))


def test_the_known_sum() -> None:
    # The check value of CRC-64/NVME in the CRC catalogue (reveng.sourceforge.io).
    assert Crc64().of(b"123456789") == 0xAE8B14860A799888
    assert Crc64().of(b"6789", before=Crc64().of(b"12345")) == 0xAE8B14860A799888
    assert written(0xAE8B14860A799888) == "rosUhgp5mIg="
