"""Optimizers, schedules and adapters that change as they train: each ends after interruptions as it ends without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.manifest import read_manifest
from runtime.config.load import load_config
from runtime.config.problem import ExitCode, UserError
from runtime.events import latest_per_step, read_events
from runtime.training.job import Surroundings
from runtime.training.stop import StopRequest

pytestmark = pytest.mark.train

Recipe = Callable[..., Path]
SHORT = {
    "micro_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "max_steps": 6,
    "save_steps": 4,
    "eval_steps": 3,
    "sequence_len": 64,
    "eval_batch_size": 1,
}
LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "lora_target_linear": True, "learning_rate": 0.01}
RELORA = {**LORA, "relora": True, "jagged_restart_steps": 2, "jagged_restart_warmup_steps": 1}


def run(recipe: Path, *, chaos: str = "", attempt: int = 1) -> ExitCode:
    """Train in this process, as a supervised run."""
    from runtime.training.train import train

    return train(load_config(recipe).config, Surroundings(run="tiny", chaos=chaos, attempt=attempt), StopRequest())


def losses(recipe: Path) -> list[tuple[int, float, float]]:
    """Step, loss and learning rate of every step."""
    events = list(read_events(recipe.with_suffix("") / "events.jsonl"))
    return [(event["step"], event["loss"], event["learning_rate"]) for event in latest_per_step(events, "loss")]


def weights(recipe: Path) -> dict[str, str]:
    """Checksums of the final model's weights."""
    final = recipe.with_suffix("") / "final"
    return {file.path: file.checksum for file in read_manifest(final).files if file.path.endswith(".safetensors")}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"optimizer": "muon", "weight_decay": 0.1, "embedding_lr": 1e-4, "lr_scheduler": "rex"}, id="muon-rex"),
        pytest.param(
            {**LORA, "optimizer": "muon", "loraplus_lr_ratio": 4.0, "lr_quadratic_warmup": True, "warmup_steps": 3}, id="muon-lora+"
        ),
        pytest.param({"lr_scheduler": "one_cycle", "warmup_steps": 2, "lr_div_factor": 5.0}, id="one-cycle"),
        pytest.param({"jagged_restart_steps": 3, "jagged_restart_warmup_steps": 1, "jagged_restart_anneal_steps": 1}, id="jagged"),
        pytest.param({"unfrozen_parameters": ["model.embed_tokens.weight$[:50]", "model.layers.1"], "weight_decay": 0.5}, id="rows"),
        pytest.param(RELORA, id="relora"),
        pytest.param(
            {**RELORA, "relora_prune_method": "reset", "optimizer": "adamw_bnb_8bit", "lora_dropout": 0.0, "relora_cpu_offload": True},
            id="relora-8bit-reset",
        ),
    ],
)
def test_an_interrupted_run_ends_as_an_undisturbed_one(recipe: Recipe, values: dict[str, Any]) -> None:
    undisturbed, disturbed = recipe("calm", **SHORT, **values), recipe("stormy", **SHORT, **values)
    assert run(undisturbed) == ExitCode.OK
    codes = [run(disturbed, chaos="preempt@2,preempt@5", attempt=attempt) for attempt in (1, 2, 3)]
    assert codes == [ExitCode.INTERRUPTED] * 2 + [ExitCode.OK]
    assert losses(disturbed) == losses(undisturbed)
    assert weights(disturbed) == weights(undisturbed)


def test_rows_outside_the_range_are_those_of_the_base(recipe: Recipe, tiny: Path) -> None:
    from safetensors.torch import load_file

    path = recipe(**SHORT, unfrozen_parameters=["model.embed_tokens.weight$[5:60]"], weight_decay=0.5, warmup_steps=0)
    assert run(path) == ExitCode.OK
    name = "model.embed_tokens.weight"
    before, after = (
        load_file(tiny / "model" / "model.safetensors")[name],
        load_file(path.with_suffix("") / "final" / "model.safetensors")[name],
    )
    moved = (before != after).any(dim=1)
    assert moved[5:60].all()
    assert not moved[:5].any()
    assert not moved[60:].any()


def test_the_final_model_of_relora_is_a_whole_one_that_says_what_training_saw(recipe: Recipe) -> None:
    """Its loss on the held-back rows is the one the last evaluation measured, over base and adapter apart."""
    from runtime.publish.trained import is_adapter, load_trained

    path = recipe(**{**SHORT, **RELORA})
    assert run(path) == ExitCode.OK
    folder = path.with_suffix("")
    assert not is_adapter(folder / "final")
    assert (folder / "checkpoints" / "step-00000006" / "changed_base.safetensors").is_file()
    evaluated = [event["loss"] for event in read_events(folder / "events.jsonl") if event["kind"] == "eval"][-1]
    config = load_config(path).config
    model, tokenizer = load_trained(config, folder / "final", device="cpu")
    assert _loss(model, tokenizer, config) == pytest.approx(evaluated, rel=1e-4)
    restarted = [event["step"] for event in read_events(folder / "events.jsonl") if event["kind"] == "adapter_restarted"]
    assert restarted == [2, 4]


def test_the_best_step_of_relora_stands_over_its_own_base(recipe: Recipe) -> None:
    from runtime.publish.trained import load_trained

    # The earlier evaluation counts as the better one here, so that the base has changed since.
    chosen = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": True}
    path = recipe(**{**SHORT, **RELORA, **chosen, "save_steps": 3})
    assert run(path) == ExitCode.OK
    folder = path.with_suffix("")
    evaluated = {event["step"]: event["loss"] for event in read_events(folder / "events.jsonl") if event["kind"] == "eval"}
    best = max(evaluated, key=lambda step: evaluated[step])
    assert best == 3
    config = load_config(path).config
    model, tokenizer = load_trained(config, folder / "final", device="cpu")
    assert _loss(model, tokenizer, config) == pytest.approx(evaluated[best], rel=1e-4)


def test_schedule_free_weights_are_those_to_use(recipe: Recipe) -> None:
    """The optimizer trains other weights than those to use; the last checkpoint holds the former, the final model the latter."""
    pytest.importorskip("schedulefree")
    import torch
    from safetensors.torch import load_file

    values = {**SHORT, "optimizer": "schedule_free_adamw", "lr_scheduler": "constant_with_warmup", "save_steps": 2}
    # An evaluation would leave the weights to use in place.
    values |= {"val_set_size": 0, "eval_steps": None}
    undisturbed, disturbed = recipe("calm", **values), recipe("stormy", **values)
    assert run(undisturbed) == ExitCode.OK
    assert [run(disturbed, chaos="preempt@3", attempt=attempt) for attempt in (1, 2)] == [ExitCode.INTERRUPTED, ExitCode.OK]
    assert weights(disturbed) == weights(undisturbed)
    folder = undisturbed.with_suffix("")
    last = folder / "checkpoints" / "step-00000006"
    trains, to_use = (load_file(place / "model.safetensors")["model.embed_tokens.weight"] for place in (last, folder / "final"))
    # y = (1 - beta1) z + beta1 x: https://arxiv.org/abs/2405.15682
    state = torch.load(last / "optimizer.pt", weights_only=True)["state"]
    fast = next(kept["z"] for kept in state.values() if kept["z"].shape == trains.shape)
    assert not torch.equal(trains, to_use)
    assert torch.allclose(to_use, (trains - 0.1 * fast) / 0.9, atol=1e-6)


def test_a_missing_package_is_refused_before_any_work(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.training.optimizers.packages.find_spec", lambda module: None)
    path = recipe(optimizer="lion_pytorch")
    with pytest.raises(UserError) as refused:
        run(path)
    assert refused.value.problems[0].fix == "pip install lion-pytorch"
    assert not [event for event in read_events(path.with_suffix("") / "events.jsonl") if event["kind"] == "prepared"]


def test_gradients_in_full_where_the_adapter_would_be_in_half(recipe: Recipe) -> None:
    import torch

    from runtime.model.precision import Precision
    from runtime.model.tokenizer import load_tokenizer
    from runtime.training.assemble import load_learner

    formats = {}
    for wanted in (False, True):
        config = load_config(recipe(**LORA, peft_autocast_adapter_dtype=False, lora_fp32_gradients=wanted)).config
        learner = load_learner(config, load_tokenizer(config), precision=Precision(weights="bfloat16"), device="cpu")
        learner.model(input_ids=torch.tensor([[3, 4, 5]]), labels=torch.tensor([[3, 4, 5]])).loss.backward()
        formats[wanted] = {parameter.grad.dtype for parameter in learner.model.parameters() if parameter.grad is not None}
    assert formats == {False: {torch.bfloat16}, True: {torch.float32}}


def _loss(model: Any, tokenizer: Any, config: Any) -> float:
    """The loss over the held-back rows as an evaluation row by row has it: the mean of the rows' means."""
    import torch

    from runtime.data.prepare import prepare

    rows = prepare(config, tokenizer).validation
    assert rows is not None
    with torch.no_grad():
        found = [model(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss.item() for row in rows]
    return sum(found) / len(found)


def test_the_table_of_losses_is_json(recipe: Recipe) -> None:
    path = recipe(**{**SHORT, "max_steps": 2, "lr_scheduler": "log_sweep", "lr_scheduler_kwargs": {"min_lr": 1e-6, "max_lr": 1e-2}})
    assert run(path) == ExitCode.OK
    assert [rate for _, _, rate in losses(path)] == [pytest.approx(1e-6), pytest.approx(1e-2)]
    assert json.loads((path.with_suffix("") / "events.jsonl").read_text().splitlines()[0])
