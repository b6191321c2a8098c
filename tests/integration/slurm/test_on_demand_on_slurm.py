"""A rented machine that is nobody's to take away: left alone, stopped, gone on with from another computer, found again when forgotten, given back."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.integration.slurm.conftest import PLACE, RECIPE, STORAGE
from tests.integration.slurm.test_recovers_on_slurm import check_leaks

if TYPE_CHECKING:
    from tests.integration.slurm.conftest import Lab

RUN = "on-demand"


def test_a_cluster_is_left_stopped_resumed_elsewhere_and_given_back(lab: Lab, at_home: dict[int, float]) -> None:
    with lab.watching("left", "up", *RECIPE, *PLACE, "--on-demand", "--name", RUN, "-y", "--set", "launch.secrets=[CANARY_TOKEN]") as up:
        lab.wait(lambda: "step 3/" in up.err.read_text() or "step 4/" in up.err.read_text() or up.process.poll() is not None, 420, 0.5)
        up.process.send_signal(signal.SIGINT)
        assert up.end(60) == 0, up.err.read_text()[-3000:]
    assert up.out.read_text().strip() == RUN
    assert f"cluster {RUN} is billed up to $32.80 an hour" in up.err.read_text()

    # Another computer finds the run by its storage, and has it stop.
    assert lab.data("status", RUN, "--storage", STORAGE, environment=lab.elsewhere)["state"] == "training"
    assert "nothing is wrong" not in lab.launcher("stop", RUN, environment=lab.elsewhere, timeout=180).stdout
    stopped = lab.data("status", RUN)
    assert stopped["state"] == "stopped"
    sealed = max(checkpoint["step"] for checkpoint in stopped["checkpoints"] if checkpoint["sealed"])
    assert 0 < sealed < 60
    assert [run["state"] for run in lab.data("ps")["runs"] if run["run"] == RUN] == ["stopped"]
    assert lab.losses(RUN).items() <= at_home.items()
    assert f"step {sealed}" in lab.launcher("logs", RUN).stdout
    # The computer that rented it gives it back at once; SkyPilot would five minutes later.
    lab.launcher("stop", RUN)
    lab.wait(lambda: not lab.slurm_jobs(RUN), 60)

    resumed = lab.launcher("resume", RUN, "--detach", environment=lab.elsewhere, timeout=420)
    assert f"going on from the checkpoint of step {sealed}" in resumed.stderr
    with lab.watching("followed", "logs", RUN, "-f") as log:
        assert log.end(420) == 0
    done = lab.data("status", RUN)
    assert (done["state"], done["spent"]["machines"]) == ("done", 2)
    assert lab.losses(RUN) == at_home

    # Nobody was there when it ended: a machine that no run needs, until it is found or has been idle for long enough.
    found = lab.data("doctor", "--rented")["rented"]
    assert [thing["name"] for thing in found["needless"]] == [RUN]
    assert found["needless_usd_per_h"] > 0
    lab.launcher("doctor", "--end", "-y")
    lab.wait(lambda: not lab.slurm_jobs(RUN), 60)
    assert lab.data("doctor", "--rented")["rented"]["needless"] == []
    lab.launcher("down", RUN, "--delete", "-y")
    assert RUN not in lab.launcher("ps").stdout
    check_leaks(lab)
