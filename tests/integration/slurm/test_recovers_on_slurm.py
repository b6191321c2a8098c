"""The demo recipe on a rented A100:8 that is taken away twice: it goes on both times, and learns what it would have learnt without."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.slurm.conftest import PLACE, RECIPE, SECRETS
from tests.integration.slurm.leaks import leaks_below, told

if TYPE_CHECKING:
    from tests.integration.slurm.conftest import Lab

RUN = "taken-away-twice"
STEPS = 60


def test_the_demo_survives_losing_its_machine_twice(lab: Lab, at_home: dict[int, float]) -> None:
    first, second = sorted(random.Random(7).sample(range(8, STEPS - 15), 2))
    with lab.watching("up", "up", *RECIPE, *PLACE, "--spot", "--name", RUN, "-y", "--set", "launch.secrets=[CANARY_TOKEN]") as up:
        lab.wait(lambda: _step(lab) >= first, 420)
        assert lab.run("scancel", *lab.slurm_jobs(RUN)).returncode == 0
        lab.wait(lambda: _lives(lab) >= 2 and _step(lab) >= max(second, first + 5), 420)
        _kill_hard(lab)
        assert up.end(500) == 0, up.err.read_text()[-3000:]

    status = lab.data("status", RUN)
    assert status["state"] == "done"
    assert status["spent"]["machines"] == 3
    assert status["spent"]["usd"] > 0
    assert status["resumes"] >= 2
    assert lab.losses(RUN) == at_home
    lab.launcher("pull", RUN, "-o", str(lab.folder / "pulled"))
    assert (lab.folder / "pulled" / "manifest.json").exists()

    lab.wait(lambda: not lab.slurm_jobs(RUN), 120)
    rented = lab.data("doctor", "--rented")["rented"]
    assert (rented["needless"], rented["needed"]) == ([], [])
    check_leaks(lab)


def check_leaks(lab: Lab) -> None:
    """No secret on the launcher's side: in no file of the launcher or of SkyPilot, in no argument, in no environment but the launcher's own."""
    for part in ("home", "state", "elsewhere", "tmp", "at-home", "pulled"):
        assert leaks_below(lab.folder / part, SECRETS) == []
    for log in lab.folder.glob("*.[oe][ur][tr]"):
        assert not any(value in log.read_text() for value in SECRETS.values()), log
    assert told(lab.folder / "leaks.txt") == []


def _step(lab: Lab) -> int:
    with suppress(AssertionError, ValueError, KeyError, TypeError):
        return int(lab.data("status", RUN)["steps"])
    return 0


def _lives(lab: Lab) -> int:
    with suppress(AssertionError, ValueError, KeyError, TypeError):
        return int(lab.data("status", RUN)["spent"]["machines"])
    return 0


def _kill_hard(lab: Lab) -> None:
    """End every process of the run's machine at once, then the machine, as when its power goes."""
    mark = f"LAUNCHER_RUN={RUN}".encode()
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdecimal() and mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
    lab.run("scancel", "--signal=KILL", *lab.slurm_jobs(RUN))
