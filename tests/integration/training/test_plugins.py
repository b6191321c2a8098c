"""A user's plugin in a real run: its options change it, its callbacks see it, and a run that was stopped ends as one that was not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.manifest import read_manifest
from runtime.config.load import load_config
from runtime.config.problem import ExitCode, UserError
from runtime.events import read_events
from runtime.training.job import Surroundings
from runtime.training.stop import StopRequest

pytestmark = pytest.mark.train

PLUGIN = """
import json
from pathlib import Path
from pydantic import BaseModel, Field
from runtime.plugins import Plugin

class Options(BaseModel):
    frozen: str | None = Field(None, description="Part of the names of parameters that do not learn.")
    decay: float = Field(1.0, gt=0, description="Factor on the learning rate after each step.")

class Recording(Plugin):
    def __init__(self):
        self.hooks, self.total = [], 0.0

    def get_input_args(self):
        return "recording.Options"

    def __getattribute__(self, name):
        if name in ("register", "pre_model_load", "post_model_build", "pre_lora_load", "post_lora_load", "post_trainer_create", "post_train_unload"):
            self.hooks.append(name)
        return super().__getattribute__(name)

    def post_model_load(self, cfg, model):
        self.hooks.append("post_model_load")
        for name, parameter in model.named_parameters():
            if cfg.frozen and cfg.frozen in name:
                parameter.requires_grad_(False)

    def create_optimizer(self, cfg, trainer):
        import torch
        return torch.optim.AdamW([p for p in trainer.model.parameters() if p.requires_grad], lr=cfg.learning_rate, weight_decay=0.5)

    def create_lr_scheduler(self, cfg, trainer, optimizer, num_training_steps):
        import torch
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, cfg.decay)

    def add_callbacks_post_trainer(self, cfg, trainer):
        from transformers import TrainerCallback
        plugin, file = self, Path(cfg.output_dir) / "steps.jsonl"

        class Steps(TrainerCallback):
            def on_step_end(self, args, state, control, model=None, **_):
                plugin.total += state.global_step
                with file.open("a") as stream:
                    stream.write(json.dumps([state.global_step, plugin.total]) + "\\n")

        return [Steps()]

    def post_train(self, cfg, model):
        (Path(cfg.output_dir) / "hooks.json").write_text(json.dumps([*self.hooks, "post_train"]))

    def state_dict(self):
        return {"total": self.total}

    def load_state_dict(self, state):
        self.total = state["total"]
"""
SETTINGS = {"plugins": ["recording.Recording"], "max_steps": 6, "save_steps": 2, "eval_steps": None, "val_set_size": None, "decay": 0.5}


@pytest.fixture
def plugged(recipe: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe with `recording.py` beside it."""
    (tmp_path / "recording.py").write_text(PLUGIN, encoding="utf-8")
    return lambda name, **values: recipe(name, **{**SETTINGS, **values})


def run(recipe: Path, *, chaos: str = "", attempt: int = 1) -> ExitCode:
    from runtime.training.train import train

    return train(load_config(recipe).config, Surroundings(run="tiny", chaos=chaos, attempt=attempt), StopRequest())


def weights(recipe: Path) -> dict[str, str]:
    """Checksums of the final weights."""
    folder = recipe.with_suffix("")
    return {file.path: file.checksum for file in read_manifest(folder / "final").files if file.path.endswith(".safetensors")}


def outcome(recipe: Path) -> tuple[dict[str, str], dict[int, float], list[Any], list[str]]:
    """Checksums of the final weights, the learning rate of each step, what the callback wrote, and the hooks that were called."""
    folder = recipe.with_suffix("")
    rates = {event["step"]: event["learning_rate"] for event in read_events(folder / "events.jsonl") if event["kind"] == "loss"}
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    return weights(recipe), rates, steps, json.loads((folder / "hooks.json").read_text(encoding="utf-8"))


def test_a_stopped_run_ends_as_an_undisturbed_one_and_options_change_it(plugged: Callable[..., Path]) -> None:
    calm, stormy, frozen = plugged("calm"), plugged("stormy"), plugged("frozen", frozen="mlp")
    assert run(calm) == ExitCode.OK
    assert run(stormy, chaos="preempt@3") == ExitCode.INTERRUPTED
    assert run(stormy, attempt=2) == ExitCode.OK
    learnt, rates, steps, hooks = outcome(calm)
    assert outcome(stormy)[:3] == (learnt, rates, steps)
    assert steps == [[1, 1.0], [2, 3.0], [3, 6.0], [4, 10.0], [5, 15.0], [6, 21.0]]
    assert rates[2] == pytest.approx(rates[1] / 2)
    assert hooks == ["register", "pre_model_load", "post_model_build", "post_model_load", "post_trainer_create", "post_train"]
    assert run(frozen) == ExitCode.OK
    assert outcome(frozen)[0] != learnt


def test_grokfast_goes_on_with_its_means(recipe: Callable[..., Path]) -> None:
    settings = {
        "plugins": ["axolotl.integrations.grokfast.GrokfastPlugin"],
        "max_steps": 4,
        "save_steps": 2,
        "eval_steps": None,
        "val_set_size": None,
    }
    calm, stormy, without = recipe("calm", **settings), recipe("stormy", **settings), recipe("without", **{**settings, "plugins": None})
    assert run(calm) == ExitCode.OK
    assert run(stormy, chaos="preempt@2") == ExitCode.INTERRUPTED
    assert run(stormy, attempt=2) == ExitCode.OK
    assert weights(stormy) == weights(calm)
    assert run(without) == ExitCode.OK
    assert weights(without) != weights(calm)


def test_with_an_adapter_its_hooks_are_called_and_a_failing_one_is_named(plugged: Callable[..., Path], tmp_path: Path) -> None:
    lora = {"adapter": "lora", "lora_r": 2, "lora_alpha": 4, "lora_target_linear": True, "max_steps": 1}
    assert run(plugged("lora", **lora)) == ExitCode.OK
    hooks = json.loads((tmp_path / "lora" / "hooks.json").read_text(encoding="utf-8"))
    assert hooks[2:6] == ["post_model_build", "pre_lora_load", "post_lora_load", "post_model_load"]
    (tmp_path / "recording.py").write_text(
        PLUGIN.replace("        for name, parameter in", "        no_such_name\n        for name, parameter in"), encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"post_model_load of recording.Recording fails: NameError.*recording.py:\d+") as caught:
        run(plugged("failing", decay=0.25))
    assert caught.value.exit_code == ExitCode.TRAINING_FAILED
