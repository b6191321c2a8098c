"""A run that was killed, preempted or stopped ends with the losses and the weights of one that was left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.manifest import read_manifest
from runtime.config.load import load_config
from runtime.config.problem import ExitCode
from runtime.events import Event, latest_per_step, read_events
from runtime.training.job import Surroundings
from runtime.training.stop import StopRequest

pytestmark = pytest.mark.train

LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "lora_target_linear": True}


def run(recipe: Path, *, chaos: str = "", attempt: int = 1) -> ExitCode:
    """Train in this process, as a supervised run."""
    from runtime.training.train import train

    return train(load_config(recipe).config, Surroundings(run="tiny", chaos=chaos, attempt=attempt), StopRequest())


def run_apart(recipe: Path, *, chaos: str = "", attempt: int = 1, **environment: str) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own, which may die."""
    command = [sys.executable, "-m", "runtime", "train", str(recipe)]
    variables = {
        **os.environ,
        "LAUNCHER_RUN": "tiny",
        "LAUNCHER_CHAOS": chaos,
        "LAUNCHER_ATTEMPT": str(attempt),
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)


def events(recipe: Path) -> list[Event]:
    """What the run wrote down."""
    return list(read_events(recipe.with_suffix("") / "events.jsonl"))


def losses(recipe: Path) -> list[tuple[int, float, float]]:
    """Step, loss and learning rate of every step; a step trained twice counts once."""
    return [(event["step"], event["loss"], event["learning_rate"]) for event in latest_per_step(events(recipe), "loss")]


def weights(recipe: Path) -> dict[str, str]:
    """Checksums of the final model's weights."""
    return {
        file.path: file.checksum for file in read_manifest(recipe.with_suffix("") / "final").files if file.path.endswith(".safetensors")
    }


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="full"),
        pytest.param({**LORA, "sample_packing": True, "micro_batch_size": 2}, id="lora-dropout-packing"),
        pytest.param(
            {**LORA, "logging_steps": 1, "neftune_noise_alpha": 5, "gradient_checkpointing": True}, id="lora-neftune-checkpointing"
        ),
        pytest.param({"dataloader_num_workers": 1, "group_by_length": True, "optimizer": "adamw_bnb_8bit"}, id="workers-lengths-8bit"),
    ],
)
def test_a_preempted_run_ends_as_an_undisturbed_one(recipe: Callable[..., Path], values: dict[str, Any]) -> None:
    undisturbed, disturbed = recipe("calm", **values), recipe("stormy", **values)
    assert run(undisturbed) == ExitCode.OK
    chaos = "preempt@4,preempt@7,preempt@11"
    codes = []
    while not codes or (codes[-1] == ExitCode.INTERRUPTED and len(codes) < 9):
        codes.append(run(disturbed, chaos=chaos, attempt=len(codes) + 1))
    assert codes == [ExitCode.INTERRUPTED] * 3 + [ExitCode.OK]
    assert losses(disturbed) == losses(undisturbed)
    assert [step for step, _, _ in losses(disturbed)] == list(range(1, 13))
    assert weights(disturbed) == weights(undisturbed)
    assert [event["from_step"] for event in events(disturbed) if event["kind"] == "resumed"] == [4, 7, 11]
    assert {event["step"]: event["loss"] for event in events(disturbed) if event["kind"] == "eval"} == {
        event["step"]: event["loss"] for event in events(undisturbed) if event["kind"] == "eval"
    }


def test_experts_come_back_though_the_hub_has_other_names_for_them(recipe: Callable[..., Path], tiny: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, MixtralConfig

    torch.manual_seed(0)
    model, tokenizer = tmp_path / "mixture", AutoTokenizer.from_pretrained(tiny / "model")
    tokenizer.save_pretrained(model)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    AutoModelForCausalLM.from_config(MixtralConfig(vocab_size=len(tokenizer), num_local_experts=2, **shape)).save_pretrained(model)
    short: dict[str, Any] = {"base_model": str(model), "max_steps": 4, "save_steps": 2, "val_set_size": 0, "eval_steps": None}
    calm, stormy = recipe("calm", **short), recipe("stormy", **short)
    assert run(calm) == ExitCode.OK
    assert run(stormy, chaos="preempt@2") == ExitCode.INTERRUPTED
    assert run(stormy, attempt=2) == ExitCode.OK
    assert losses(stormy) == losses(calm)
    assert weights(stormy) == weights(calm)


def test_a_killed_run_goes_on_from_the_newest_sealed_checkpoint(recipe: Callable[..., Path]) -> None:
    undisturbed, disturbed = recipe("calm", **LORA), recipe("stormy", **LORA)
    assert run(undisturbed) == ExitCode.OK
    assert run_apart(disturbed, chaos="kill@7").returncode == -9
    assert json.loads((disturbed.with_suffix("") / "chaos.json").read_text()) == {"fired": ["kill@7"]}
    assert run(disturbed, chaos="kill@7", attempt=2) == ExitCode.OK
    resumed = [event for event in events(disturbed) if event["kind"] == "resumed"]
    assert [event["from_step"] for event in resumed] == [5]
    assert "newest sealed" in resumed[0]["reason"]
    assert losses(disturbed) == losses(undisturbed)
    assert weights(disturbed) == weights(undisturbed)


def test_a_broken_newest_checkpoint_is_walked_past(recipe: Callable[..., Path]) -> None:
    path = recipe()
    assert run(path, chaos="preempt@11") == ExitCode.INTERRUPTED
    newest = path.with_suffix("") / "checkpoints" / "step-00000011" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-3])
    assert run(path, attempt=2) == ExitCode.OK
    resumed = next(event for event in events(path) if event["kind"] == "resumed")
    assert resumed["from_step"] == 10
    assert "step 11 skipped: model.safetensors is 3 bytes short" in resumed["skipped"][0]


def test_a_finished_run_trains_no_further_step(recipe: Callable[..., Path]) -> None:
    path = recipe()
    assert run(path) == ExitCode.OK
    before, trained = weights(path), len([event for event in events(path) if event["kind"] == "loss"])
    assert run(path, attempt=2) == ExitCode.OK
    assert weights(path) == before
    assert len([event for event in events(path) if event["kind"] == "loss"]) == trained == 12


def test_retention_keeps_the_newest_every_sixth_and_the_best(recipe: Callable[..., Path]) -> None:
    path = recipe(
        save_steps=2, eval_steps=2, save_total_limit=2, learning_rate=1.0, load_best_model_at_end=True, launch={"keep_every_steps": 6}
    )
    assert run(path) == ExitCode.OK
    evaluated = {event["step"]: event["loss"] for event in events(path) if event["kind"] == "eval"}
    best = min(evaluated, key=lambda step: evaluated[step])
    kept = {int(folder.name.removeprefix("step-")) for folder in (path.with_suffix("") / "checkpoints").iterdir()}
    assert kept == {6, 10, 12, best}
    final = {file.path: file.checksum for file in read_manifest(path.with_suffix("") / "final").files}
    there = {file.path: file.checksum for file in read_manifest(path.with_suffix("") / "checkpoints" / f"step-{best:08d}").files}
    assert final["model.safetensors"] == there["model.safetensors"]


@pytest.mark.skipif(
    not os.environ.get("LONG_TESTS"), reason="half a minute; LONG_TESTS=1 runs it, and tests/unit/training/test_rescale.py the reckoning"
)
def test_a_checkpoint_goes_on_with_other_processes(recipe: Callable[..., Path]) -> None:
    """One process, then two, then one again: every step has the rows and, but for rounding, the loss it would have had."""
    values: dict[str, Any] = {"micro_batch_size": 8, "gradient_accumulation_steps": 1, "max_steps": 8, "save_steps": 2, "eval_steps": None}
    values |= {"val_set_size": 0, "logging_steps": 1, "lr_scheduler": "constant", "warmup_steps": 0}
    one = recipe("one", **values)
    assert run(one) == ExitCode.OK
    first, second = (
        path.with_suffix("") / "checkpoints" / step for path, step in ((one, "step-00000004"), (one.with_name("two"), "step-00000006"))
    )
    two = recipe("two", **values, resume_from_checkpoint=str(first), launch={"processes": 2})
    done = run_apart(two, LAUNCHER_RUN_DIR="")
    assert done.returncode == 0, done.stderr
    assert "each step trains the same 8 rows" in done.stderr
    assert read_manifest(second).world_size == 2
    back = recipe("back", **values, resume_from_checkpoint=str(second))
    assert run(back) == ExitCode.OK
    expected = {event["step"]: event for event in events(one) if event["kind"] == "loss"}
    for path, steps in ((two, range(5, 9)), (back, range(7, 9))):
        found = {event["step"]: event for event in events(path) if event["kind"] == "loss"}
        assert sorted(found) == list(steps)
        for step in steps:
            assert found[step]["loss"] == pytest.approx(expected[step]["loss"], abs=2e-3)
            assert found[step]["tokens"] == expected[step]["tokens"], "the same rows have the same number of tokens"
