"""Several runs of one recipe on rented machines at once, under one budget."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.integration.slurm.conftest import RECIPE, STORAGE
from tests.integration.slurm.test_recovers_on_slurm import check_leaks

if TYPE_CHECKING:
    from tests.integration.slurm.conftest import Lab

NAME = "swept"
# Half of what the cluster has, so that both runs have their machine at the same time.
PLACE = ("--cloud", "slurm", "--region", "lab", "--gpus", "A100:4", "--storage", STORAGE, "--max-cost", "20")


@pytest.mark.skipif(os.environ.get("CLOUD_TESTS") != "all", reason="five more minutes: CLOUD_TESTS=all")
def test_a_sweep_rents_a_machine_for_each_run_under_one_budget(lab: Lab) -> None:
    swept = ("--set", "max_steps=6", "--set", "save_steps=3", "--set", "seed=1,2")
    with lab.watching("sweep", "up", *RECIPE, *swept, *PLACE, "--on-demand", "--name", NAME, "-y") as up:
        assert up.end(800) == 0, up.err.read_text()[-3000:]
    runs = {run["run"]: run for run in lab.data("status", NAME)["runs"]}
    assert {run: (found["state"], found["values"]) for run, found in runs.items()} == {
        f"{NAME}-1": ("done", {"seed": "1"}),
        f"{NAME}-2": ("done", {"seed": "2"}),
    }
    assert 0 < sum(run["spent"]["usd"] for run in runs.values()) < 20
    curves = [lab.losses(run) for run in runs]
    assert [len(curve) for curve in curves] == [6, 6]
    assert curves[0] != curves[1]
    lab.launcher("down", NAME, "--delete", "-y", timeout=300)
    lab.wait(lambda: not lab.slurm_jobs(NAME), 120)
    assert lab.data("doctor", "--rented")["rented"]["needless"] == []
    check_leaks(lab)
