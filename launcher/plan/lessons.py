"""Finished runs of this computer as lessons for estimates: each run's own recipe estimated again, beside what it measured."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from launcher.estimate.calibration import Lesson
from launcher.estimate.estimate import estimate
from launcher.estimate.gpus import GpuCount, find_gpu
from launcher.estimate.hardware import Hardware, cards
from launcher.estimate.model_source import find_model
from launcher.estimate.range import exactly
from launcher.estimate.rows import DataSize, data_size
from launcher.plan.machine import names_of_card
from launcher.state.measurements import Measurement, measurement_of, measurements
from launcher.state.runs import RunFolder
from runtime.config.load import load_config
from runtime.config.problem import Problem, UserError

MOST = 40
"""The newest runs that are looked at; older ones ran with older code."""


def lessons_from(root: Path) -> list[Lesson]:
    """What the newest finished runs below `root` teach. A run whose model or machine is no longer known teaches nothing."""
    found = []
    for folder, measured in islice(measurements(root), MOST):
        try:
            found.append(lesson_of(folder, measured))
        except UserError:
            continue
    return found


def lesson_of(folder: RunFolder, measured: Measurement | None = None) -> Lesson:
    """The lesson of one run. Raises UserError when it has measured too little, or when its recipe, model or card cannot be read any more."""
    measured = measurement_of(folder) if measured is None else measured
    if measured is None:
        raise UserError(
            Problem(
                code="too-few-steps",
                message=f"{folder.run} has run too few steps to be measured",
                place=str(folder.path),
                fix="six steps are enough; `launcher status` shows how far it is",
            )
        )
    config = load_config(folder.config_path).config
    assert config is not None
    model = find_model(config.base_model, changes=config.overrides_of_model_config)
    data = data_size(config, vocab=model.facts.vocab)
    if not data.known:
        # The length of the run does not matter here, only its speed and its peak.
        data = DataSize(rows=exactly(1000), tokens=exactly(1000.0 * config.sequence_len), longest=config.sequence_len, basis="")
    made = estimate(config, model, _hardware(measured), data)
    per = measured.processes if measured.gpu is not None else 1
    return Lesson(estimate=made, tokens_per_s=measured.tokens_per_s / per, peak_gib=measured.peak_gib)


def _hardware(measured: Measurement) -> Hardware:
    if measured.gpu is None:
        return Hardware(name="this machine", capacity_gib=1e6, cores=measured.cores, processes=measured.processes, rented=False)
    card = next((gpu for name in names_of_card(measured.gpu, 0.0) if (gpu := find_gpu(name)) is not None), None)
    if card is None:
        raise UserError(Problem(code="unknown-name", message=f"no GPU kind is called {measured.gpu!r}", place=measured.run))
    return cards(GpuCount(gpu=card, count=measured.processes))
