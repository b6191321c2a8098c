"""Traced text: the same text as a plain string would give, and origins that are right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.data.traced import Traced, joined

pytestmark = pytest.mark.train

short = st.text(alphabet="ab \n<>", max_size=12)
operations = {
    "strip": lambda text: text.strip(),
    "lstrip": lambda text: text.lstrip("\n"),
    "rstrip": lambda text: text.rstrip("ab"),
    "slice": lambda text: text[1:-1],
    "head": lambda text: text[:3],
    "split": lambda text: "|".join(text.split("a")),
    "last": lambda text: text.split("b")[-1],
    "words": lambda text: (text.split() or [""])[0],
    "rsplit": lambda text: text.rsplit("a", 1)[0],
    "lines": lambda text: (text.splitlines() or [""])[-1],
    "partition": lambda text: text.partition("<")[2],
    "rpartition": lambda text: text.rpartition("<")[2],
    "replace": lambda text: text.replace("a", "xx"),
    "prefix": lambda text: text.removeprefix("a"),
    "suffix": lambda text: text.removesuffix("b"),
    "around": lambda text: "[" + text + "]",
    "twice": lambda text: text + text,
    "str": lambda text: str(text),
}


@given(short, st.lists(st.sampled_from(sorted(operations)), max_size=4))
def test_the_text_is_what_a_plain_string_gives_and_pieces_point_at_their_source(source, names):
    traced, plain = Traced.of(source, 0, "content"), source
    for name in names:
        traced, plain = operations[name](traced), operations[name](plain)
    assert traced == plain
    for piece in getattr(traced, "pieces", ()):
        assert plain[piece.start : piece.stop] == source[piece.origin : piece.origin + piece.stop - piece.start]
        assert piece.stop > piece.start


def test_trimmed_and_joined_text_keeps_its_offsets():
    text = joined(["<u>", Traced.of("  hello ", 3, "content").strip(), "</u>"])
    assert text == "<u>hello</u>"
    assert [tuple(piece) for piece in text.pieces] == [(3, 8, 3, "content", 2)]


def test_text_without_origin_is_plain():
    assert type(joined(["a", "b"])) is str
