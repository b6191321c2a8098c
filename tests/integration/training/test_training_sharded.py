"""A training state that is spread over two processes learns as two whole copies do, and its checkpoints come back with another number of processes."""

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

FSDP = {"fsdp_version": 2, "fsdp_config": {"reshard_after_forward": True}}
LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "lora_target_linear": True}
SHORT: dict[str, Any] = {
    "micro_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "max_steps": 5,
    "save_steps": 2,
    "eval_steps": None,
    "val_set_size": 0,
    "logging_steps": 1,
    "lr_scheduler": "constant",
    "warmup_steps": 0,
}
SUPPORT = Path(__file__).parents[2] / "support" / "trainings_together.py"


def run(recipe: Path) -> ExitCode:
    """Train in this process."""
    from runtime.training.train import train

    return train(load_config(recipe).config, Surroundings(debug=True), StopRequest())


def by_two(tmp_path: Path, *orders: dict[str, Any], processes: int = 2) -> list[int]:
    """The exit codes of trainings by two processes, one after the other."""
    answer = tmp_path / "codes.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), str(SUPPORT)]
    done = subprocess.run(
        [*command, json.dumps([{**order, "recipe": str(order["recipe"])} for order in orders]), str(answer)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    codes: list[int] = json.loads(answer.read_text(encoding="utf-8"))
    return codes


def learnt(recipe: Path) -> dict[int, Event]:
    """What was written down of each step; a step trained twice counts once."""
    return {event["step"]: event for event in latest_per_step(read_events(recipe.with_suffix("") / "events.jsonl"), "loss")}


def alike(one: Path, other: Path, *, steps: range = range(1, 6), loss: float = 1e-4, norm: float = 1e-3) -> None:
    """Both learnt the same, but for the order in which numbers are added up."""
    first, second = learnt(one), learnt(other)
    for step in steps:
        assert second[step]["loss"] == pytest.approx(first[step]["loss"], abs=loss)
        assert second[step]["grad_norm"] == pytest.approx(first[step]["grad_norm"], rel=norm)
        assert second[step]["tokens"] == first[step]["tokens"]


def weights(folder: Path) -> dict[str, Any]:
    """The tensors of a model or an adapter."""
    from safetensors.torch import load_file

    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def same_weights(one: Path, other: Path, *, tolerance: float = 0.0) -> None:
    """Both final models hold the same tensors."""
    first, second = weights(one.with_suffix("") / "final"), weights(other.with_suffix("") / "final")
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype
        assert (tensor - second[name]).abs().max().item() <= tolerance, name


def checkpoint(recipe: Path, step: int) -> Path:
    """A checkpoint of a run."""
    return recipe.with_suffix("") / "checkpoints" / f"step-{step:08d}"


def test_shards_learn_as_whole_copies_do_and_come_back_with_any_number_of_processes(recipe: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    alone = recipe("alone", **SHORT)
    assert run(alone) == ExitCode.OK
    calm, stormy = recipe("calm", **SHORT, **FSDP), recipe("stormy", **SHORT, **FSDP)
    copies, from_one = recipe("copies", **SHORT), recipe("from-one", **SHORT, **FSDP, resume_from_checkpoint=str(checkpoint(alone, 2)))
    brief = {**SHORT, "max_steps": 2, "bf16": True}
    lora, lora_copies = recipe("lora", **brief, **FSDP, **LORA), recipe("lora-copies", **brief, **LORA)
    codes = by_two(
        tmp_path,
        {"recipe": calm},
        {"recipe": stormy, "chaos": "preempt@3"},
        {"recipe": stormy, "chaos": "preempt@3", "attempt": 2},
        {"recipe": copies},
        {"recipe": from_one, "unsupervised": True},
        {"recipe": lora},
        {"recipe": lora_copies},
    )
    assert codes == [0, int(ExitCode.INTERRUPTED), 0, 0, 0, 0, 0]

    alike(copies, calm)
    same_weights(copies, calm, tolerance=1e-5)
    # Computed in 16 bits, whose rounding the two ways share out differently.
    alike(lora_copies, lora, steps=range(1, 3), loss=2e-3, norm=0.05)
    same_weights(lora_copies, lora, tolerance=2e-3)
    assert {step: event["loss"] for step, event in learnt(stormy).items()} == {step: event["loss"] for step, event in learnt(calm).items()}
    same_weights(calm, stormy)
    alike(alone, from_one, steps=range(3, 6))

    kept = checkpoint(calm, 4)
    names = {file.path for file in read_manifest(kept).files}
    assert {"model.safetensors.index.json", "optimizer.safetensors.index.json", "optimizer.json", "rng_state_1.pth"} <= names
    assert not {name for name in names if name.endswith(".bin") or name == "optimizer.pt"}
    assert (
        AutoModelForCausalLM.from_pretrained(kept).num_parameters()
        == AutoModelForCausalLM.from_pretrained(calm.with_suffix("") / "final").num_parameters()
    )
    # An adapter's checkpoint holds the adapter, and no base.
    assert not list(checkpoint(lora, 2).glob("model*"))

    back = recipe("back", **SHORT, **FSDP, resume_from_checkpoint=str(kept))
    assert run(back) == ExitCode.OK
    alike(calm, back, steps=range(5, 6))


@pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="minutes; LONG_TESTS=1 runs it, and the test above its short form")
@pytest.mark.parametrize("values", [pytest.param({}, id="full"), pytest.param({**LORA, "gradient_checkpointing": True}, id="lora")])
def test_killed_processes_go_on_from_the_shards_bit_for_bit(recipe: Callable[..., Path], values: dict[str, Any]) -> None:
    calm, stormy = (recipe(name, **SHORT, **FSDP, **values, launch={"processes": 2}) for name in ("calm", "stormy"))

    def apart(path: Path, chaos: str, attempt: int) -> int:
        variables = {"LAUNCHER_RUN": "tiny", "LAUNCHER_CHAOS": chaos, "LAUNCHER_ATTEMPT": str(attempt), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "runtime", "train", str(path)]
        return subprocess.run(command, env=os.environ | variables, capture_output=True, timeout=400, check=False).returncode

    assert apart(calm, "", 1) == 0
    assert apart(stormy, "kill@3", 1) == -9
    assert apart(stormy, "kill@3", 2) == 0
    assert learnt(stormy).keys() == learnt(calm).keys()
    same_weights(calm, stormy)


# What reads weights outside of the model's own forward pass, gives parts of it formats or rates of their own, or leaves parts of it out.
VARIANTS: dict[str, dict[str, Any]] = {
    "parts-of-logits": {"chunked_cross_entropy": True},
    "parts-of-logits-lora": {**LORA, "chunked_cross_entropy": True, "gradient_checkpointing": True},
    "own-loss": {"use_eaft": True},
    "dora": {**LORA, "peft_use_dora": True},
    "whole-modules": {**LORA, "lora_modules_to_save": ["embed_tokens", "lm_head"]},
    "new-tokens": {**LORA, "tokens": ["<new1>", "<new2>"]},
    "token-rows": {**LORA, "peft_trainable_token_indices": [3, 4]},
    "tied": {"reinit_weights": True, "overrides_of_model_config": {"tie_word_embeddings": True}},
    "some-layers": {"unfrozen_parameters": [r"model\.layers\.1\.", "lm_head"]},
    "rates": {"lr_groups": [{"name": "q", "modules": ["q_proj"], "lr": 0.01}], "embedding_lr": 1e-4},
    "muon": {"optimizer": "muon"},
    "packing": {"sample_packing": True, "micro_batch_size": 1},
    "reduced-each": {"accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}}},
    "qlora": {**LORA, "adapter": "qlora", "load_in_4bit": True},
    "best": {"val_set_size": 0.1, "eval_steps": 1, "save_steps": 1, "learning_rate": 0.2, "load_best_model_at_end": True},
    "samples": {**LORA, "val_set_size": 0.1, "eval_steps": 2, "generate_samples": True, "generation_max_new_tokens": 20},
}


@pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="minutes; LONG_TESTS=1 runs it")
def test_whatever_a_recipe_asks_for_shards_learn_as_whole_copies_do(recipe: Callable[..., Path], tmp_path: Path) -> None:
    short = {**SHORT, "max_steps": 3, "save_steps": None}
    forms = {"mixed": {"bf16": True}, "mixed-lora": {**LORA, "bf16": True}}
    others = {
        "whole-files": {"fsdp_config": {"state_dict_type": "FULL_STATE_DICT", "reshard_after_forward": False}},
        "read-once": {"fsdp_config": {"cpu_ram_efficient_loading": True}},
        "read-once-lora": {**LORA, "fsdp_config": {"cpu_ram_efficient_loading": True}},
        "older-words": {"fsdp": ["shard_grad_op", "auto_wrap"]},
    }
    pairs: list[tuple[Path, Path, float]] = []
    for name, values in (VARIANTS | forms).items():
        both = recipe(f"{name}-shards", **{**short, **FSDP, **values}), recipe(f"{name}-copies", **{**short, **values})
        pairs.append((*both, 2e-3 if name in forms else 1e-4))
    for name, values in others.items():
        plain = {key: value for key, value in values.items() if not key.startswith("fsdp")}
        pairs.append((recipe(f"{name}-shards", **{**short, **values}), recipe(f"{name}-copies", **{**short, **plain}), 1e-4))
    orders = [{"recipe": path, "unsupervised": True} for one, other, _ in pairs for path in (one, other)]
    assert set(by_two(tmp_path, *orders)) == {0}
    for one, other, tolerance in pairs:
        first, second = learnt(one), learnt(other)
        assert [event["loss"] for event in first.values()] == pytest.approx([event["loss"] for event in second.values()], abs=tolerance), (
            one.name
        )


@pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="a minute; LONG_TESTS=1 runs it")
def test_two_copies_of_two_shards_go_on_from_two_shards(recipe: Callable[..., Path], tmp_path: Path) -> None:
    values = {**SHORT, "micro_batch_size": 2}
    two = recipe("two", **values, **FSDP)
    assert by_two(tmp_path, {"recipe": two}) == [0]
    four = recipe("four", **values, **FSDP, dp_replicate_size=2, resume_from_checkpoint=str(checkpoint(two, 2)))
    assert by_two(tmp_path, {"recipe": four, "unsupervised": True}, processes=4) == [0]
    alike(two, four, steps=range(3, 6))
