"""The sum of a content does not depend on how its bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from runtime.checkpoint import checksum
from runtime.checkpoint.checksum import LEAF_BYTES, Hasher, digest_bytes, digest_stream

CONTENT = bytes(range(256)) * (LEAF_BYTES // 256) * 3


def test_what_fits_into_a_leaf_has_the_plain_sum() -> None:
    for size in (0, 1, LEAF_BYTES):
        assert digest_bytes(CONTENT[:size]).checksum == f"xxh3_128:{xxhash.xxh3_128_hexdigest(CONTENT[:size])}"


def test_what_is_larger_has_the_sum_of_its_leaves_sums() -> None:
    leaves = [xxhash.xxh3_128_digest(CONTENT[start : start + LEAF_BYTES]) for start in (0, LEAF_BYTES)] + [xxhash.xxh3_128_digest(b"x")]
    content = CONTENT[: 2 * LEAF_BYTES] + b"x"
    assert digest_bytes(content).checksum == f"xxh3_128_8m:{xxhash.xxh3_128_hexdigest(b''.join(leaves))}"
    assert digest_stream(iter([content[:5], content[5:]])) == digest_bytes(content)


@given(st.binary(max_size=70), st.lists(st.integers(0, 70), max_size=5), st.integers(0, 8))
def test_spans_join_to_the_sum_of_the_whole(content: bytes, cuts: list[int], spans: int) -> None:
    whole = checksum.LEAF_BYTES
    checksum.LEAF_BYTES = 8
    try:
        joined = Hasher()
        for start in range(0, len(content), 8 * max(1, spans)):
            span, end = Hasher(), start + 8 * max(1, spans)
            edges = sorted({start, min(end, len(content)), *(cut for cut in cuts if start < cut < min(end, len(content)))})
            for first, last in pairwise(edges):
                span.update(content[first:last])
            joined.join(span)
        assert joined.digest() == digest_bytes(content)
    finally:
        checksum.LEAF_BYTES = whole
