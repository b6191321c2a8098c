"""What a run has left in its output folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.state.outputs import list_checkpoints, newest_sealed_step
from runtime.checkpoint.layout import STORED
from runtime.checkpoint.sealing import new_staging, seal


def sealed(folder: Path, step: int, kind: str) -> None:
    staging = new_staging(folder.parent)
    (staging / "model").write_bytes(b"w")
    seal(staging, folder, step=step, config_hash="", world_size=1, kind=kind)  # type: ignore[arg-type]


def test_the_newest_sealed_step(tmp_path: Path) -> None:
    assert newest_sealed_step(tmp_path) == -1
    sealed(tmp_path / "checkpoints" / "step-00000040", 40, "checkpoint")
    (tmp_path / "checkpoints" / "step-00000050").mkdir()
    assert newest_sealed_step(tmp_path) == 40


@pytest.mark.parametrize(("noted", "newest"), [("40", 40), ("", -1), (None, -1)])
def test_what_one_of_several_machines_holds_counts_once_all_of_it_is_stored(tmp_path: Path, noted: str | None, newest: int) -> None:
    sealed(tmp_path / "portions" / "step-00000050", 50, "portion")
    if noted is not None:
        (tmp_path / STORED).write_text(noted)
    assert newest_sealed_step(tmp_path) == newest
    assert list_checkpoints(tmp_path) == []
