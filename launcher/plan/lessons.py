"""Finished runs of this computer as lessons for estimates: each run's own recipe estimated again, beside what it measured. What they taught is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import launcher.estimate
from launcher.estimate.calibration import Comparison, Lesson, Likeness
from launcher.estimate.estimate import estimate
from launcher.estimate.gpus import GpuCount, find_gpu
from launcher.estimate.hardware import Hardware, cards
from launcher.estimate.model_source import find_model
from launcher.estimate.range import exactly
from launcher.estimate.rows import DataSize, data_size
from launcher.plan.machine import names_of_card
from launcher.state.measurements import FINISHED, Measurement, measurement_of
from launcher.state.runs import RunFolder
from runtime.config.load import load_config
from runtime.config.problem import Problem, UserError
from runtime.record import write_atomic

MOST = 40
"""The newest runs that are looked at; older ones ran with older code."""

KEPT = "lessons.json"
_Kept = dict[str, tuple[int, Lesson | None]]


def lessons_from(root: Path, *, learn: Callable[[RunFolder], Lesson | None] | None = None) -> list[Lesson]:
    """What the newest finished runs below `root` teach; `learn` finds out what one does.

    A run whose model or machine is no longer known teaches nothing. Only runs that changed since the last time are estimated again, or all of them when the
    estimator itself did.
    """
    file, learn = root / KEPT, learn or _lesson_of
    kept, estimator = _read(file), _estimator()
    known = kept[1] if kept[0] == estimator else {}
    found: _Kept = {}
    for folder, changed in islice(_newest(root), MOST):
        before = known.get(folder.run)
        found[folder.run] = before if before is not None and before[0] == changed else (changed, learn(folder))
    if (estimator, found) != kept:
        # Without it the next estimate takes longer, and nothing else.
        with suppress(OSError):
            write_atomic(file, _dump(estimator, found))
    return [lesson for _, lesson in found.values() if lesson is not None]


def measured_by(folder: RunFolder) -> Measurement:
    """What one run has measured. Raises UserError when that is nothing yet."""
    measured = measurement_of(folder)
    if measured is None:
        raise UserError(
            Problem(
                code="too-few-steps",
                message=f"{folder.run} has not trained a step yet, so nothing is measured",
                place=str(folder.path),
                fix="six steps are enough; `launcher status` shows how far it is",
            )
        )
    return measured


def compared(folder: RunFolder, measured: Measurement) -> Comparison:
    """What a run has `measured`, beside its estimate with the micro batch it trained with. Raises UserError when its
    recipe, model or card cannot be read any more."""
    config = load_config(folder.config_path).config
    assert config is not None
    micro = int(config.micro_batch_size or 1)
    if measured.probed is not None and measured.probed.micro_batch != micro:
        # The probe lowered it, or went on with what it had come down to before.
        accumulation = max(1, int(config.gradient_accumulation_steps or 1) * micro // measured.probed.micro_batch)
        config = config.model_copy(update={"micro_batch_size": measured.probed.micro_batch, "gradient_accumulation_steps": accumulation})
    model = find_model(config.base_model, changes=config.overrides_of_model_config)
    data = data_size(config, vocab=model.facts.vocab)
    if not data.known:
        # The length of the run does not matter here, only its speed and its peak.
        data = DataSize(rows=exactly(1000), tokens=exactly(1000.0 * config.sequence_len), longest=config.sequence_len, basis="")
    made = estimate(config, model, _hardware(measured), data)
    per = measured.processes if measured.gpu is not None else 1
    speed = measured.tokens_per_s / per if measured.tokens_per_s is not None else None
    return Comparison(estimate=made, tokens_per_s=speed, peak_gib=measured.worst_gib)


def _lesson_of(folder: RunFolder) -> Lesson | None:
    try:
        return compared(folder, measured_by(folder)).lesson if folder.record().state in FINISHED else None
    except (UserError, OSError):
        return None


def _newest(root: Path) -> Iterator[tuple[RunFolder, int]]:
    """The runs and when their records last changed, the latest first."""
    found = []
    for record in (root / "runs").glob("*/run.json"):
        with suppress(OSError):
            found.append((record.stat().st_mtime_ns, record.parent))
    for changed, path in sorted(found, reverse=True):
        yield RunFolder(path=path), changed


def _estimator() -> str:
    """A mark of the code and the tables that estimate: other ones would expect other figures of the same run."""
    folder = Path(launcher.estimate.__file__).parent
    files = sorted([*folder.glob("*.py"), *(folder.parent / "data").iterdir()])
    return " ".join(f"{status.st_mtime_ns:x}.{status.st_size:x}" for status in (file.stat() for file in files))


def _read(file: Path) -> tuple[str, _Kept]:
    try:
        body: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return str(body["estimator"]), {run: (int(changed), _lesson(lesson)) for run, (changed, lesson) in body["runs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", {}


def _lesson(body: dict[str, Any] | None) -> Lesson | None:
    if body is None:
        return None
    return Lesson(likeness=Likeness(**body["likeness"]), speed_factor=body["speed_factor"], memory_factor=body["memory_factor"])


def _dump(estimator: str, found: _Kept) -> bytes:
    runs = {run: (changed, asdict(lesson) if lesson is not None else None) for run, (changed, lesson) in found.items()}
    return json.dumps({"estimator": estimator, "runs": runs}).encode()


def _hardware(measured: Measurement) -> Hardware:
    if measured.gpu is None:
        return Hardware(name="this machine", capacity_gib=1e6, cores=measured.cores, processes=measured.processes, rented=False)
    card = next((gpu for name in names_of_card(measured.gpu, 0.0) if (gpu := find_gpu(name)) is not None), None)
    if card is None:
        raise UserError(Problem(code="unknown-name", message=f"no GPU kind is called {measured.gpu!r}", place=measured.run))
    return cards(GpuCount(gpu=card, count=measured.processes))
