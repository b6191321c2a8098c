"""What a request sends is what is in memory, however the library reads it."""

from __future__ import annotations

import io
import os

from hypothesis import given
from hypothesis import strategies as st

from runtime.checkpoint.body import Body

STEPS = st.lists(
    st.tuples(st.just("read"), st.integers(-1, 40), st.just(0))
    | st.tuples(st.just("seek"), st.integers(0, 40), st.just(os.SEEK_SET))
    | st.tuples(st.just("seek"), st.just(0), st.sampled_from([os.SEEK_CUR, os.SEEK_END]))
)


@given(st.binary(max_size=32), STEPS)
def test_it_reads_as_a_file_does(content: bytes, steps: list[tuple[str, int, int]]) -> None:
    body, file = Body(memoryview(content)), io.BytesIO(content)
    assert len(body) == len(content)
    for what, count, whence in steps:
        if what == "read":
            assert bytes(body.read(count)) == file.read(count)
        else:
            body.seek(count, whence)
            file.seek(min(count, len(content)) if whence == os.SEEK_SET else count, whence)
        assert body.tell() == file.tell()


def test_nothing_is_copied() -> None:
    content = memoryview(bytearray(10))
    assert Body(content).read(4).obj is content.obj
