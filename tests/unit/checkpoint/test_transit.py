"""How far a transfer has come is told while it moves, and what is begun again is not counted twice."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.bandwidth import Unlimited
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.restore import restore_newest
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import seal_in_store
from runtime.checkpoint.transit import Counted, Transit, sentence, told


@pytest.mark.parametrize(
    ("moved", "total", "seconds", "said"),
    [
        (3_200_000_000, 14_000_000_000, 8.0, "3.2 of 14.0 GB, 400 MB/s, about 27 s left"),
        (0, 14_000_000_000, 8.0, "0.0 of 14.0 GB, 0 MB/s"),
        (14_000_000_000, 14_000_000_000, 0.0, "14.0 of 14.0 GB, 0 MB/s"),
        (1_000_000_000, 140_000_000_000, 100.0, "1.0 of 140.0 GB, 10 MB/s, about 3.9 h left"),
        (1_000_000_000, 11_000_000_000, 100.0, "1.0 of 11.0 GB, 10 MB/s, about 17 min left"),
    ],
)
def test_the_sentence(moved: int, total: int, seconds: float, said: str) -> None:
    assert sentence(moved, total, seconds) == said


def test_a_file_that_is_begun_again_counts_once() -> None:
    transit = Transit()
    transit.expect(150)
    share, other = transit.share(100), transit.share(50)
    other.add(50)
    share.add(60)
    share.add(60)
    assert transit.moved_bytes == 150
    share.begin()
    assert transit.moved_bytes == 50
    share.end()
    assert (transit.moved_bytes, transit.total_bytes) == (150, 150)


def test_lines_come_while_a_block_runs_and_end_with_it() -> None:
    lines: list[str] = []
    heard = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        heard.set()

    with told(say, "restoring", every_s=0.01) as transit:
        assert not heard.wait(0.05), "nothing is known yet"
        transit.expect(2_000_000_000)
        assert heard.wait(10)
    count = len(lines)
    assert lines[0].startswith("restoring: 0.0 of 2.0 GB")
    heard.clear()
    assert not heard.wait(0.05)
    assert len(lines) == count


def test_a_restore_tells_all_its_bytes(sealed: Any, tmp_path: Path) -> None:
    sent = Transit()
    place = RunStore(store=DirectoryStore(tmp_path / "store", Counted(Unlimited(), sent)), run="run", sent=sent)
    manifest = seal_in_store(place, sealed(30), writer="1-a")
    assert place.sent.moved_bytes == manifest.total_bytes
    transit = Transit()
    assert restore_newest([place], tmp_path / "restored", transit=transit).found is not None
    assert transit.moved_bytes == transit.total_bytes == manifest.total_bytes
