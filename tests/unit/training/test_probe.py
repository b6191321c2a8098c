"""When a step is tried before training, and what is kept of what it found."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.load import check_text
from runtime.training.cadence import Cadence, cadence_of

pytestmark = pytest.mark.train

BASE = "base_model: org/m\nlearning_rate: 0.001\ndatasets: [{path: org/d, type: alpaca}]\n"


def config(text: str) -> Any:
    checked = check_text(BASE + text, file="recipe.yml")
    assert checked.config is not None, checked.errors
    return checked.config


def beat(recipe: Any) -> Cadence:
    return cadence_of(recipe, rows=100, world_size=1, evaluates=False)


@pytest.mark.parametrize(
    ("text", "on_a_gpu", "on_a_cpu"),
    [
        ("", True, False),
        ("launch: {probe: auto}\nauto_find_batch_size: true\n", True, True),
        ("launch: {probe: true}\n", True, True),
        ("launch: {probe: false}\n", False, False),
        ("optimizer: lomo\n", False, False),
    ],
)
def test_it_is_tried_on_a_gpu_or_where_it_is_asked_for(text: str, on_a_gpu: bool, on_a_cpu: bool) -> None:
    from runtime.training.probe import probe_of

    said: list[str] = []
    job: Any = SimpleNamespace(config=config(text), progress=SimpleNamespace(say=said.append))
    assert (probe_of(job, cuda=True) is not None, probe_of(job, cuda=False) is not None) == (on_a_gpu, on_a_cpu)
    assert bool(said) == ("lomo" in text)


def test_a_resumed_run_keeps_the_micro_batch_it_came_down_to(tmp_path: Path) -> None:
    from runtime.training.probe import kept_cadence

    (tmp_path / "session.json").write_text(json.dumps({"micro_batch_size": 2}), encoding="utf-8")
    lowering, fixed = (config(f"micro_batch_size: 6\nauto_find_batch_size: {word}\n") for word in ("true", "false"))

    def kept(recipe: Any, checkpoint: Path | None) -> tuple[int, int, bool]:
        found = kept_cadence(recipe, beat(recipe), checkpoint, rows=100, world_size=1)
        return found.micro_batch_size, found.gradient_accumulation_steps, found.lowered

    assert kept(lowering, tmp_path) == (2, 3, True)
    assert kept(fixed, tmp_path) == kept(lowering, None) == kept(lowering, tmp_path / "none") == (6, 1, False)
    (tmp_path / "session.json").write_text(json.dumps({"micro_batch_size": 4}), encoding="utf-8")
    assert kept(lowering, tmp_path) == (6, 1, False), "4 does not divide 6"


def test_an_evaluation_is_no_larger_than_a_micro_batch_that_was_lowered(tmp_path: Path) -> None:
    from dataclasses import replace

    from runtime.model.precision import Precision
    from runtime.training.arguments import training_arguments

    recipe = config("micro_batch_size: 6\neval_batch_size: 8\nauto_find_batch_size: true\n")

    def arguments(cadence: Cadence) -> Any:
        return training_arguments(recipe, cadence, Precision(weights="float32"), scratch=tmp_path, cuda=False)

    assert arguments(beat(recipe)).per_device_eval_batch_size == 8
    assert arguments(replace(beat(recipe), micro_batch_size=3, lowered=True)).per_device_eval_batch_size == 3
    assert arguments(beat(recipe)).auto_find_batch_size is False, "the Trainer's own way would change the global batch"


def test_it_says_how_far_off_the_estimate_was() -> None:
    from runtime.training.probe import _against
    from runtime.training.trial import Need

    need = Need(peak=3 * 2**30, room=8 * 2**30, rows=2, tokens=512)
    assert _against(need, 2.5) == "; 2.5 GiB were expected (+20%)"
    assert _against(need, None) == ""
    assert _against(Need(peak=3 * 2**30, room=2**30, rows=2, tokens=512, ended=False), 2.5) == ""
