"""The demo recipe on a rented A100:8 that is taken away twice: it goes on both times, and learns what it would have learnt without."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.slurm.conftest import Lab

RUN = "taken-away-twice"
STEPS = 60
CANARY = "canary-9c41e0b7"
RECIPE = ("examples/quickstart.yml", "--set", "launch.processes=1", "--set", f"max_steps={STEPS}", "--set", "save_steps=5")


def test_the_demo_survives_losing_its_machine_twice(lab: Lab) -> None:
    lab.environment["CANARY_TOKEN"] = CANARY
    lab.launcher(
        "up",
        *RECIPE,
        "--cloud",
        "local",
        "--name",
        "at-home",
        "-y",
        "--quiet",
        "--set",
        f"output_dir={lab.folder / 'at-home'}",
        timeout=400,
    )

    place = ("--cloud", "slurm", "--region", "lab", "--gpus", "A100:8", "--spot", "--storage", "s3://runs/lab", "--max-cost", "25")
    with (lab.folder / "up.out").open("w") as out, (lab.folder / "up.err").open("w") as err:
        up = subprocess.Popen(
            [sys.executable, "-P", "-m", "launcher", "up", *RECIPE, *place, "--name", RUN, "-y", "--set", "launch.secrets=[CANARY_TOKEN]"],
            cwd=Path(__file__).parents[3],
            env=lab.environment,
            stdout=out,
            stderr=err,
        )
    first, second = sorted(random.Random(7).sample(range(8, STEPS - 15), 2))
    lab.wait(lambda: _step(lab) >= first, 420)
    subprocess.run(["scancel", *lab.slurm_jobs(RUN)], env=lab.environment, check=True, timeout=30)
    lab.wait(lambda: _lives(lab) >= 2 and _step(lab) >= max(second, first + 5), 420)
    _kill_hard(lab)
    assert up.wait(500) == 0, (lab.folder / "up.err").read_text()[-3000:]

    status = json.loads(lab.launcher("status", RUN, "--json").stdout)["data"]
    assert status["state"] == "done"
    assert status["spent"]["machines"] == 3
    assert status["spent"]["usd"] > 0
    assert status["resumes"] >= 2
    assert _losses(lab, RUN) == _losses(lab, "at-home")
    lab.launcher("pull", RUN, "-o", str(lab.folder / "pulled"))
    assert (lab.folder / "pulled" / "manifest.json").exists()

    lab.wait(lambda: not lab.slurm_jobs(RUN), 120)
    rented = json.loads(lab.launcher("doctor", "--rented", "--json").stdout)["data"]["rented"]
    assert (rented["needless"], rented["needed"]) == ([], [])
    assert _with(CANARY, lab.folder / "state") == []
    assert _with("labsecret-5d1e77c0", lab.folder / "state") == []


def _step(lab: Lab) -> int:
    done = lab.launcher("status", RUN, "--json", check=False)
    with suppress(ValueError, KeyError, TypeError):
        return int(json.loads(done.stdout)["data"]["steps"])
    return 0


def _lives(lab: Lab) -> int:
    done = lab.launcher("status", RUN, "--json", check=False)
    with suppress(ValueError, KeyError, TypeError):
        return int(json.loads(done.stdout)["data"]["spent"]["machines"])
    return 0


def _losses(lab: Lab, run: str) -> dict[int, float]:
    curves = json.loads(lab.launcher("metrics", run, "--json").stdout)["data"]["curves"]["loss"]
    return dict(zip(curves["steps"], curves["values"], strict=True))


def _kill_hard(lab: Lab) -> None:
    """End every process of the run's machine at once, then the machine, as when its power goes."""
    mark = f"LAUNCHER_RUN={RUN}".encode()
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdecimal() and mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
    subprocess.run(["scancel", "--signal=KILL", *lab.slurm_jobs(RUN)], env=lab.environment, check=False, timeout=30)


def _with(word: str, root: Path) -> Sequence[Path]:
    return [file for file in root.rglob("*") if file.is_file() and word.encode() in file.read_bytes()]
