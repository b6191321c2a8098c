"""What happens beside the training: layers chosen or taking turns, samples, checkpoints on demand. None of it may cost a bit of a resumed run."""

from __future__ import annotations

import json
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

SHORT = {"max_steps": 6, "eval_steps": 3, "save_steps": 3, "micro_batch_size": 4, "gradient_accumulation_steps": 1, "logging_steps": 2}
LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "lora_target_linear": True}


def run(recipe: Path, *, chaos: str = "", attempt: int = 1) -> ExitCode:
    from runtime.training.train import train

    return train(load_config(recipe).config, Surroundings(run="tiny", chaos=chaos, attempt=attempt), StopRequest())


def events(recipe: Path, kind: str) -> list[Event]:
    return [event for event in read_events(recipe.with_suffix("") / "events.jsonl") if event["kind"] == kind]


def losses(recipe: Path) -> list[tuple[int, float]]:
    return [(event["step"], event["loss"]) for event in latest_per_step(events(recipe, "loss"), "loss")]


def weights(recipe: Path) -> dict[str, str]:
    manifest = read_manifest(recipe.with_suffix("") / "final")
    return {file.path: file.checksum for file in manifest.files if file.path.endswith(".safetensors")}


def changed(recipe: Path, base: Path) -> set[str]:
    """Parameters that training changed."""
    from safetensors.torch import load_file

    before, after = load_file(base / "model.safetensors"), load_file(recipe.with_suffix("") / "final" / "model.safetensors")
    return {name for name in before if not before[name].equal(after[name])}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"spectrum_top_fraction": 0.5}, id="spectrum"),
        pytest.param({"lisa_n_layers": 1, "lisa_step_interval": 1, "weight_decay": 0.1}, id="lisa"),
        pytest.param(
            {**LORA, "generate_samples": True, "generation_max_new_tokens": 4, "eval_table_size": 1, "eval_max_new_tokens": 3}, id="samples"
        ),
    ],
)
def test_a_preempted_run_ends_as_an_undisturbed_one(recipe: Callable[..., Path], values: dict[str, Any]) -> None:
    undisturbed, disturbed = recipe("calm", **SHORT, **values), recipe("stormy", **SHORT, **values)
    assert run(undisturbed) == ExitCode.OK
    assert run(disturbed, chaos="preempt@2") == ExitCode.INTERRUPTED
    # A machine that takes over has the checkpoint and nothing else of the run's folder.
    (disturbed.with_suffix("") / "spectrum.json").unlink(missing_ok=True)
    assert run(disturbed, chaos="preempt@2", attempt=2) == ExitCode.OK
    assert losses(disturbed) == losses(undisturbed)
    assert weights(disturbed) == weights(undisturbed)
    assert events(disturbed, "resumed")[0]["from_step"] == 2
    for kind, field in (("samples", "samples"), ("predictions", "predictions"), ("spectrum", "layers")):
        assert {event["step"]: event[field] for event in events(disturbed, kind)} == {
            event["step"]: event[field] for event in events(undisturbed, kind)
        }


def test_only_the_layers_that_spectrum_names_train(recipe: Callable[..., Path], tiny: Path) -> None:
    path = recipe(**SHORT, spectrum_top_fraction=0.5)
    assert run(path) == ExitCode.OK
    chosen = json.loads((path.with_suffix("") / "spectrum.json").read_text())
    assert len(chosen["ratios"]) == 14
    assert len(chosen["layers"]) == 7
    assert changed(path, tiny / "model") == {*chosen["layers"], "model.embed_tokens.weight", "lm_head.weight"}
    assert events(path, "spectrum")[0]["layers"] == chosen["layers"]


def test_a_resumed_run_scans_no_more(recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kind of machine may round differently, and choose other layers than those the optimizer has state for."""
    from runtime.training import targeting

    path = recipe(**SHORT, spectrum_top_fraction=0.5)
    assert run(path, chaos="preempt@2") == ExitCode.INTERRUPTED
    (path.with_suffix("") / "spectrum.json").unlink()
    monkeypatch.setattr(targeting, "signal_to_noise", lambda weight: pytest.fail("scanned again"))
    assert run(path, chaos="preempt@2", attempt=2) == ExitCode.OK
    first, second = events(path, "spectrum")
    assert first["layers"] == second["layers"]


def test_samples_change_no_weight_and_are_recorded(recipe: Callable[..., Path]) -> None:
    plain = recipe("plain", **SHORT, **LORA)
    talking = recipe(
        "talking",
        **SHORT,
        **LORA,
        generate_samples=True,
        num_generation_samples=2,
        generation_max_new_tokens=5,
        do_causal_lm_eval=True,
        eval_causal_lm_metrics=["perplexity"],
        eval_table_size=3,
        eval_max_new_tokens=3,
        metric_for_best_model="perplexity",
    )
    assert run(plain) == run(talking) == ExitCode.OK
    assert weights(plain) == weights(talking)
    assert losses(plain) == losses(talking)
    assert [(event["step"], len(event["samples"])) for event in events(talking, "samples")] == [(3, 2), (6, 2)]
    assert [len(event["predictions"]) for event in events(talking, "predictions")] == [3, 3]
    first = events(talking, "samples")[0]["samples"][0]
    assert first["prompt"]
    assert first["expected"]
    measured = events(talking, "eval")[-1]
    assert measured["perplexity"] == pytest.approx(2.718281828 ** measured["loss"])


def test_a_file_asks_for_a_checkpoint(recipe: Callable[..., Path]) -> None:
    path = recipe(**{**SHORT, "save_steps": 6}, dynamic_checkpoint={"enabled": True, "check_interval": 2, "trigger_file_path": "save-now"})
    folder = path.with_suffix("")
    folder.mkdir()
    (folder / "save-now").touch()
    assert run(path) == ExitCode.OK
    assert [event["step"] for event in events(path, "checkpoint")] == [2, 6]
    assert [event["step"] for event in events(path, "checkpoint_asked")] == [2]
    assert not (folder / "save-now").exists()


def test_profiled_steps_leave_a_trace(recipe: Callable[..., Path]) -> None:
    import gzip

    path = recipe(**SHORT, profiler_steps=1, profiler_steps_start=2)
    assert run(path) == ExitCode.OK
    trace = path.with_suffix("") / "profile" / "steps-3-3-rank-0.json.gz"
    assert b"traceEvents" in gzip.decompress(trace.read_bytes())
    assert events(path, "profiled")[0]["first"] == 3
