"""Several processes: who this is, how many are wanted, and what their verdict says to the parent."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.config.problem import ExitCode, Problem
from runtime.training.processes import Rank, read_verdict, wanted_processes, write_verdict


def test_a_rank_is_what_torchrun_says() -> None:
    assert Rank.from_environment({}) == Rank()
    rank = Rank.from_environment({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"})
    assert (rank.index, rank.local, rank.world_size, rank.is_main) == (3, 1, 4, False)


def test_the_first_verdict_is_believed(tmp_path: Path) -> None:
    file = tmp_path / "exit.json"
    assert read_verdict(file) is None
    problem = Problem(code="out-of-memory", message="no room", fix="smaller", place="here")
    write_verdict(file, ExitCode.TRAINING_FAILED, [problem])
    write_verdict(file, ExitCode.OK)
    assert read_verdict(file) == (5, [problem])


def test_the_recipe_decides_how_many_then_the_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    unset, two = SimpleNamespace(launch=SimpleNamespace(processes=None)), SimpleNamespace(launch=SimpleNamespace(processes=2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert wanted_processes(unset) == 3
    assert wanted_processes(two) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert wanted_processes(unset) == 1
