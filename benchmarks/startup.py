"""Measures what starting the launcher costs, and writes benchmarks/results/startup-DATE.json.

    python benchmarks/startup.py [--times 7]

Each command runs in fresh processes, one after another, interleaved with the floors it can be compared with: a bare interpreter, one that imports Typer,
one that imports pydantic. CPU-seconds are user plus system time of the process, as the kernel counts them; the median of all times is reported, with the
lowest and the highest. Modules are those in sys.modules at exit.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
COUNT = "import atexit, sys; atexit.register(lambda: print('modules', len(sys.modules), file=sys.stderr))"
LAUNCHER = f"{COUNT}; from launcher.cli.app import main; main()"
RECIPE = "examples/quickstart.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing to start: Python code and its arguments, with the CPU-seconds it may cost (None for a floor)."""

    name: str
    code: str
    arguments: tuple[str, ...] = ()
    goal_cpu_s: float | None = None


CASES = (
    Case(name="floor: python -c pass", code=COUNT),
    Case(name="floor: import typer", code=f"{COUNT}; import typer"),
    Case(name="floor: import pydantic", code=f"{COUNT}; from pydantic import BaseModel"),
    Case(name="launcher --help", code=LAUNCHER, arguments=("--help",), goal_cpu_s=0.25),
    Case(name=f"launcher validate {RECIPE}", code=LAUNCHER, arguments=("validate", RECIPE), goal_cpu_s=0.60),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """CPU-seconds over all times of one case, and its number of modules at exit."""

    name: str
    cpu_s: float
    cpu_s_low: float
    cpu_s_high: float
    modules: int
    goal_cpu_s: float | None


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--times", type=int, default=7, help="fresh processes for each case (default: %(default)s)")
    arguments.add_argument("--out", type=Path, default=RESULTS / f"startup-{datetime.date.today():%Y-%m-%d}.json", help="file to write")
    options = arguments.parse_args()
    results = measure(CASES, options.times)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps({"machine": machine(), "times": options.times, "results": [asdict(result) for result in results]}, indent=1) + "\n"
    )
    print(table(results))
    print(f"written to {options.out}")
    return 0


def measure(cases: tuple[Case, ...], times: int) -> list[Measured]:
    """Every case, `times` fresh processes each, in turns, after one unmeasured start that fills the caches. Raises SystemExit when a command fails."""
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    modules: dict[str, int] = {}
    for turn in range(times + 1):
        for case in cases:
            cpu_s, modules[case.name] = start(case)
            if turn:
                seconds[case.name].append(cpu_s)
    return [
        Measured(
            name=case.name,
            cpu_s=round(statistics.median(seconds[case.name]), 3),
            cpu_s_low=round(min(seconds[case.name]), 3),
            cpu_s_high=round(max(seconds[case.name]), 3),
            modules=modules[case.name],
            goal_cpu_s=case.goal_cpu_s,
        )
        for case in cases
    ]


def start(case: Case) -> tuple[float, int]:
    """CPU-seconds and number of modules of one fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run([sys.executable, "-c", case.code, *case.arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    counted = [line for line in process.stderr.splitlines() if line.startswith("modules ")]
    if process.returncode != 0 or not counted:
        raise SystemExit(f"{case.name} failed with exit code {process.returncode}:\n{process.stderr}")
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return used, int(counted[-1].split()[1])


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "date": f"{datetime.date.today():%Y-%m-%d}",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def table(results: list[Measured]) -> str:
    """The figures as text, one case a line."""
    lines = [f"{'':40}{'CPU-s':>8}{'low':>8}{'high':>8}{'goal':>8}{'modules':>9}"]
    for result in results:
        goal = "" if result.goal_cpu_s is None else f"{result.goal_cpu_s:.2f}"
        lines.append(f"{result.name:40}{result.cpu_s:8.3f}{result.cpu_s_low:8.3f}{result.cpu_s_high:8.3f}{goal:>8}{result.modules:9}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
