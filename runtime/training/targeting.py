"""Spectrum in a run: scan the base once, keep what was found, train the layers it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError
from runtime.model.load import load_model, unfreeze_only
from runtime.model.precision import Precision
from runtime.model.spectrum import fingerprint, matrices, patterns, signal_to_noise, strongest
from runtime.record import write_atomic
from runtime.training.job import Job

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FILE = "spectrum.json"


def target_layers(
    job: Job, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, precision: Precision, checkpoint: Path | None
) -> dict[str, Any] | None:
    """Freeze everything in `model` but the layers Spectrum chooses, and return what was chosen: `model`, `fraction`, `ratios` and `layers`. None, and
    nothing frozen, without `spectrum_top_fraction`.

    A resumed run takes the layers of its `checkpoint`: a scan on another kind of machine may round differently. Otherwise the scan is taken from the run's
    folder when it is of the same weights, and made when there is none; the processes share the work, and the same answer comes out on each.
    Raises UserError when `spectrum_model_name` is a model with other layers.
    """
    if not job.config.spectrum_top_fraction:
        return None
    kept = job.rank.share(_read(checkpoint / FILE) if job.rank.is_main and checkpoint is not None else None)
    chosen = kept or _choose(job, model, tokenizer, precision)
    unfreeze_only(model, patterns(chosen["layers"], model))
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in model.parameters())
    job.progress.say(
        f"Spectrum: {len(chosen['layers'])} of {len(chosen['ratios'])} weight matrices train, with embeddings and head {trained / total:.0%} of the parameters"
    )
    job.emit("spectrum", **{name: chosen[name] for name in ("model", "fraction", "layers")}, trained=trained, parameters=total)
    return chosen


def keep_layers(chosen: dict[str, Any]) -> Callable[[Path], None]:
    """A function that writes `chosen` into a folder."""

    def write(folder: Path) -> None:
        write_atomic(folder / FILE, json.dumps(chosen, indent=1).encode() + b"\n")

    return write


def _choose(job: Job, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, precision: Precision) -> dict[str, Any]:
    config = job.config
    name, fraction = config.spectrum_model_name or config.base_model, float(config.spectrum_top_fraction)
    scanned = model
    if name != config.base_model:
        other = config.model_copy(update={"base_model": name, "base_model_config": None, "revision_of_model": None})
        scanned = load_model(other, tokenizer, precision=precision, device=str(model.device))
        _require_same_layers(model, scanned, name)
    digest = fingerprint(scanned)
    found = job.rank.share(_read(job.folder.path / FILE) if job.rank.is_main else None)
    if found is None or found["weights"] != digest:
        found = {"ratios": _scan(job, scanned)}
    ratios: dict[str, float] = found["ratios"]
    chosen = {"model": name, "weights": digest, "fraction": fraction, "ratios": ratios, "layers": strongest(ratios, fraction)}
    if job.rank.is_main:
        keep_layers(chosen)(job.folder.path)
    return chosen


def _scan(job: Job, model: PreTrainedModel) -> dict[str, float]:
    every = list(matrices(model))
    if not every:
        raise UserError(
            Problem(
                code="unsupported",
                path="spectrum_top_fraction",
                message=f"{type(model).__name__} has no weight matrices in numbered layers to compare",
                fix="name what trains under `unfrozen_parameters`",
            )
        )
    job.progress.say(f"Spectrum: measuring the signal in {len(every)} weight matrices, once")
    own: dict[str, float] = {}
    for number, (name, weight) in enumerate(every):
        if number % job.rank.world_size == job.rank.index:
            own[name] = signal_to_noise(weight)
        job.emit("stage", name="model", part="spectrum", done=number + 1, total=len(every))
        if (number + 1) % max(10, len(every) // 10) == 0:
            job.progress.say(f"Spectrum: {number + 1} of {len(every)} measured")
    together = {name: ratio for part in job.rank.gather(own) for name, ratio in part.items()}
    return {name: together[name] for name, _ in every}


def _require_same_layers(model: PreTrainedModel, other: PreTrainedModel, name: str) -> None:
    shapes: Callable[[Any], dict[str, Any]] = lambda of: {key: tuple(weight.shape) for key, weight in matrices(of)}  # noqa: E731
    if shapes(model) != shapes(other):
        raise UserError(
            Problem(
                code="conflict",
                path="spectrum_model_name",
                place=name,
                message="its layers are not those of base_model",
                fix="name a model of the same architecture and size, or leave it out: base_model is measured then",
            )
        )


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if {"model", "weights", "fraction", "ratios", "layers"} <= found.keys() else None
