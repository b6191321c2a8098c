"""Every way to train gives a model that can be merged, loaded again and talked to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.manifest import read_manifest, verify
from runtime.config.load import load_config
from runtime.config.problem import ExitCode, UserError
from runtime.events import Event, read_events
from runtime.training.job import Surroundings
from runtime.training.stop import StopRequest

pytestmark = pytest.mark.train

SHORT = {"max_steps": 4, "eval_steps": 2, "save_steps": 2, "learning_rate": 1e-2, "micro_batch_size": 4, "gradient_accumulation_steps": 1}
LORA = {**SHORT, "adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_target_linear": True}


def run(recipe: Path, **changes: Any) -> tuple[Any, Path]:
    """The config and the final folder of a finished training; `changes` are laid over the checked config."""
    from runtime.training.train import train

    config = load_config(recipe).config.model_copy(update=changes)
    assert train(config, Surroundings(), StopRequest()) == ExitCode.OK
    return config, recipe.with_suffix("") / "final"


def events(recipe: Path, kind: str) -> list[Event]:
    return [event for event in read_events(recipe.with_suffix("") / "events.jsonl") if event["kind"] == kind]


def logits(model: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.arange(5, 40)[None]).logits


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="lora"),
        pytest.param({"peft_use_dora": True, "peft_use_rslora": True}, id="dora-rslora"),
        pytest.param({"peft_init_lora_weights": "pissa"}, id="pissa"),
        pytest.param({"peft_init_lora_weights": "olora"}, id="olora"),
        pytest.param(
            {"lora_target_linear": None, "lora_target_modules": ["q_proj"], "lora_modules_to_save": ["embed_tokens", "lm_head"]},
            id="modules-to-save",
        ),
        pytest.param({"tokens": ["<think>", "</think>"], "resize_token_embeddings_to_32x": True}, id="new-tokens"),
        pytest.param({"reinit_weights": True}, id="reinit"),
        pytest.param({"loraplus_lr_ratio": 16}, id="loraplus"),
    ],
)
def test_the_merged_model_predicts_as_the_trained_one(
    recipe: Callable[..., Path], values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    values = dict(values)

    from runtime.publish.merge import merge
    from runtime.publish.trained import load_trained
    from runtime.training import train as training

    trained: list[Any] = []
    finish = training._finish

    def watch(job: Any, trainer: Any, *rest: Any, **named: Any) -> None:
        trainer.model.eval()
        trained.append(logits(trainer.model))
        finish(job, trainer, *rest, **named)

    monkeypatch.setattr(training, "_finish", watch)
    # The recipe's rules refuse an adapter over random weights; the model half supports it for whoever builds on it.
    changes = {name: values.pop(name) for name in ("reinit_weights",) if name in values}
    config, final = run(recipe(**{**LORA, **values}), **changes)
    base = logits(load_base_model(config))
    adapter, _ = load_trained(config, final, device="cpu")
    merged, _ = load_trained(config, merge(config, final), device="cpu")
    assert not hasattr(merged, "peft_config")
    width = base.shape[-1]
    assert (trained[0][..., :width] - base).abs().max() > 1e-2, "training changed nothing"
    torch.testing.assert_close(logits(adapter), trained[0], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(logits(merged), trained[0], atol=2e-4, rtol=1e-4)


def load_base_model(config: Any) -> Any:
    from runtime.model.load import load_model
    from runtime.model.precision import Precision
    from runtime.model.tokenizer import load_tokenizer

    return load_model(config, load_tokenizer(config), precision=Precision(weights="float32"), device="cpu").eval()


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_a_quantized_base_is_merged_in_full_size(recipe: Callable[..., Path], bits: str) -> None:
    import torch
    from safetensors.torch import load_file

    from runtime.publish.publish import publish

    path = recipe(**{**LORA, "adapter": "qlora" if bits == "load_in_4bit" else "lora", bits: True})
    config, _ = run(path)
    ready = publish(config)
    assert ready.name == "merged"
    tensors = load_file(ready / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    base = load_file(Path(config.base_model) / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    adapter = load_file(ready.parent / "adapter_model.safetensors")
    a, b = (adapter[f"base_model.model.model.layers.0.mlp.up_proj.lora_{part}.weight"] for part in "AB")
    torch.testing.assert_close(tensors[name], base[name] + 2.0 * b @ a, atol=1e-5, rtol=1e-5)
    assert [event["kind"] for event in read_events(path.with_suffix("") / "events.jsonl")][-1] == "verified"


def test_a_fully_trained_model_is_verified_and_answers(recipe: Callable[..., Path]) -> None:
    from runtime.publish.chat import Conversation
    from runtime.publish.evaluation import evaluate
    from runtime.publish.publish import publish
    from runtime.publish.trained import load_trained

    path = recipe(**SHORT)
    config, final = run(path)
    assert publish(config) == final
    assert verify(final, read_manifest(final)) == ()
    assert {"README.md", "config.yml", "model.safetensors", "tokenizer.json", "config.json"} <= {
        file.path for file in read_manifest(final).files
    }
    assert not list(final.rglob("*.bin"))
    measured = evaluate(config, final)
    assert measured.loss == pytest.approx(events(path, "eval")[-1]["loss"], abs=1e-4)
    pieces: list[str] = []
    model, tokenizer = load_trained(config, final, device="cpu")
    answer = Conversation(model, tokenizer, max_new_tokens=5).say("question", pieces.append)
    assert "".join(pieces) == answer


def test_storage_holds_the_checkpoints_the_adapter_and_the_merged_model(recipe: Callable[..., Path], tmp_path: Path) -> None:
    from runtime.checkpoint.directory import DirectoryStore
    from runtime.checkpoint.stored import RunStore, verify_stored
    from runtime.publish.publish import publish

    path = recipe(**LORA, launch={"storage": str(tmp_path / "store"), "name": "kept"})
    config, final = run(path)
    ready = publish(config)
    store = RunStore(store=DirectoryStore(tmp_path / "store"), run="kept")
    for folder, local in (("final", final), ("final/merged", ready)):
        manifest = store.manifest(folder)
        assert manifest.same_content(read_manifest(local))
        assert verify_stored(store, manifest) == ()
    assert True in store.steps().values()
    assert events(path, "published")[-1]["url"] == store.url()


def test_a_changed_byte_is_not_verified(recipe: Callable[..., Path]) -> None:
    from runtime.publish.publish import publish

    config, final = run(recipe(**SHORT))
    weights = final / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors changed after sealing") as caught:
        publish(config)
    assert caught.value.exit_code == ExitCode.NOT_VERIFIED


def test_another_draw_of_a_new_base_is_not_merged(recipe: Callable[..., Path]) -> None:
    from runtime.publish.merge import merge

    config, final = run(recipe(**LORA), reinit_weights=True)
    other = config.model_copy(update={"seed": 7})
    with pytest.raises(UserError, match="differs from the one this adapter was trained over"):
        merge(other, final)


def test_only_unfrozen_parameters_change(recipe: Callable[..., Path]) -> None:
    from safetensors.torch import load_file

    config, final = run(recipe(**SHORT, unfrozen_parameters=[r"model\.layers\.1\."]))
    before, after = load_file(Path(config.base_model) / "model.safetensors"), load_file(final / "model.safetensors")
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert all(name.startswith("model.layers.1.") for name in changed)


def test_each_loss_is_that_of_its_own_step(recipe: Callable[..., Path]) -> None:
    fine, coarse = recipe("fine", logging_steps=1), recipe("coarse", logging_steps=7)
    halves = recipe("halves", logging_steps=1, micro_batch_size=22, gradient_accumulation_steps=1)
    for path in (fine, coarse, halves):
        run(path)
    assert [(e["step"], e["loss"]) for e in events(fine, "loss")] == [(e["step"], e["loss"]) for e in events(coarse, "loss")]
    assert len(events(coarse, "loss")) == 12
    for one, two in zip(events(fine, "loss"), events(halves, "loss"), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=1e-3), "the loss is a mean over tokens, however they are split"
        assert one["tokens"] == two["tokens"]


def test_two_processes_learn_as_one(recipe: Callable[..., Path]) -> None:
    import os
    import subprocess
    import sys

    one = recipe("one", **{**SHORT, "micro_batch_size": 8})
    two = recipe("two", **{**SHORT, "launch": {"processes": 2, "storage": str(one.parent / "store")}})
    run(one)
    result = subprocess.run(
        [sys.executable, "-m", "runtime", "train", str(two)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads((two.with_suffix("") / "exit.json").read_text())["code"] == 0
    newest = two.with_suffix("") / "checkpoints" / "step-00000004"
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {file.path for file in read_manifest(newest).files}
    assert read_manifest(newest).world_size == 2
    for single, double in zip(events(one, "loss"), events(two, "loss"), strict=True):
        assert double["loss"] == pytest.approx(single["loss"], abs=2e-3)
        assert double["tokens"] == single["tokens"]
    sent = one.parent / "store" / "two" / "final" / "manifest.json"
    assert sent.is_file()
