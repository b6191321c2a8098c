"""The machine a process trains on, and the refusal of what it cannot train."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.config.environment import Machine
from runtime.config.load import check_text
from runtime.config.problem import Problem, UserError
from runtime.training.machine import fit_for, installed, this_machine, together
from runtime.training.processes import Rank

pytestmark = pytest.mark.train

BASE = "base_model: org/m\nlearning_rate: 0.001\ndatasets: [{path: org/d, type: alpaca}]\n"


def config(text: str = "") -> Any:
    checked = check_text(BASE + text, file="recipe.yml")
    assert checked.config is not None, checked.errors
    return checked.config


def refuse(*problems: Problem) -> None:
    raise UserError(problems)


def test_a_machine_is_found_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    machine = this_machine(Rank(world_size=4))
    assert (machine.world_size, machine.nodes) == (4, 2)
    assert (machine.gpu is not None) == torch.cuda.is_available()
    assert machine.packages is not None
    assert {"torch", "transformers"} <= machine.packages


def test_names_of_packages_are_normalized() -> None:
    assert all(name == name.lower() and "_" not in name and "." not in name for name in installed())


def test_everything_that_cannot_be_trained_here_is_said_at_once() -> None:
    with pytest.raises(UserError) as caught:
        fit_for(config("tf32: true\nflash_attention: true\n"), Machine())
    assert [problem.path for problem in caught.value.problems] == ["tf32", "flash_attention"]


def test_what_a_written_auto_comes_to_is_said() -> None:
    new = Machine(gpu="H100", compute_capability=(9, 0), gpus_per_node=1)
    assert fit_for(config("tf32: auto\n"), new) == ["tf32: auto is true, as H100 has TF32 units"]
    assert fit_for(config("bf16: false\nfp16: true\n"), new)[0].startswith("warning: fp16: ")
    assert fit_for(config(), Machine()) == []


def test_checks_are_made_together() -> None:
    seen: list[int] = []
    optimizer, packing = Problem(code="a", path="optimizer", message="no"), Problem(code="b", path="sample_packing", message="no")
    again = Problem(code="c", path="optimizer", message="no again")
    with pytest.raises(UserError) as caught:
        together(lambda: refuse(optimizer), lambda: seen.append(1), lambda: refuse(again, packing))
    assert caught.value.problems == (optimizer, packing)
    assert seen == [1]
    together(lambda: None)
