"""Where a run goes on from: its newest sealed checkpoint, one the recipe names, or the beginning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from runtime.checkpoint.layout import WEIGHTS, step_of
from runtime.checkpoint.manifest import is_sealed, read_manifest, verify
from runtime.checkpoint.restore import Place, restore_newest
from runtime.checkpoint.transit import told
from runtime.config.problem import Problem, UserError
from runtime.training.folder import RunFolder


def _say_nothing(text: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The beginning when `checkpoint` is None, else the folder training goes on from, why, and what was passed over."""

    checkpoint: Path | None = None
    step: int = 0
    reason: str = ""
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def find_start(
    config: Any,
    folder: RunFolder,
    *,
    supervised: bool,
    stores: Sequence[Place] = (),
    config_hash: str,
    say: Callable[[str], None] = _say_nothing,
) -> Start:
    """Where to go on from; `say` hears how far a checkpoint has come that is brought here.

    A supervised run, or one with `auto_resume_from_checkpoints`, takes its newest sealed checkpoint, in its own folder or brought from `stores`. Without
    one, and without that wish, `resume_from_checkpoint` decides. Raises UserError when the named checkpoint is not usable, or when a fresh start would
    train over the checkpoints of an earlier one.
    """
    named = config.resume_from_checkpoint
    if supervised or config.auto_resume_from_checkpoints:
        with told(say, "restoring") as transit:
            survey = restore_newest(
                [folder.checkpoints, *stores], folder.checkpoints, near=folder.portions, config_hash=config_hash, transit=transit
            )
        skipped = tuple(problem.message for problem in survey.skipped)
        if survey.found is not None:
            found = survey.found
            return Start(
                checkpoint=found.folder,
                step=found.step,
                reason=found.sentence,
                skipped=skipped,
                warnings=(*(problem.message for problem in found.warnings), *_newer_weights(folder, stores, found.step)),
            )
        return _named(named, folder) if named else Start(skipped=skipped, warnings=_newer_weights(folder, stores, 0))
    if named:
        return _named(named, folder)
    newest = _newest_own(folder)
    if newest is not None:
        raise UserError(
            Problem(
                code="trained-before",
                path="output_dir",
                place=str(folder.path),
                message=f"this folder has checkpoints of an earlier training, up to step {newest}",
                fix="set auto_resume_from_checkpoints: true to go on from there, or another output_dir",
            )
        )
    return Start()


def _newer_weights(folder: RunFolder, stores: Sequence[Place], step: int) -> tuple[str, ...]:
    """What is said of weights alone that were saved after `step`: there was no time for more, and training cannot go on from them."""
    newest, where = step, ""
    for place in (folder.weights, *stores):
        with suppress(FileNotFoundError, UserError):
            manifest = (
                read_manifest(place) if isinstance(place, Path) else place.patiently(partial(place.manifest, WEIGHTS), place.url(WEIGHTS))
            )
            if manifest.kind == "weights" and manifest.step > newest:
                newest, where = manifest.step, str(place) if isinstance(place, Path) else place.url(WEIGHTS)
    if not where:
        return ()
    return (
        f"the weights of step {newest} are in {where}, saved when there was no time for a checkpoint; they can be used (`launcher pull RUN --weights`), "
        f"and training goes on from step {step}, as it needs more than weights",
    )


def _named(name: str, folder: RunFolder) -> Start:
    path = Path(name).expanduser()
    kind = read_manifest(path).kind if is_sealed(path) else "checkpoint"
    if kind == "portion":
        raise UserError(
            Problem(
                code="unsealed",
                path="resume_from_checkpoint",
                place=name,
                message="this is what one of several machines held of a checkpoint, and no checkpoint",
                fix="take the whole one from the run's storage: `launcher pull RUN --step N`",
            )
        )
    if kind == "weights":
        raise UserError(
            Problem(
                code="weights-only",
                path="resume_from_checkpoint",
                place=name,
                message="these are weights alone, saved when there was no time for the optimizer's state: training cannot go on from them exactly",
                fix="resume from the newest checkpoint in checkpoints/, or begin a new training from these weights with lora_model_dir "
                "(an adapter) or base_model",
            )
        )
    if not (path / "trainer_state.json").is_file():
        raise UserError(
            Problem(
                code="missing-file",
                path="resume_from_checkpoint",
                place=name,
                message="this is no checkpoint folder (trainer_state.json is missing)",
                fix="name a folder such as out/checkpoints/step-00000100",
            )
        )
    warnings: tuple[str, ...] = ()
    if is_sealed(path):
        broken = [problem for problem in verify(path, read_manifest(path)) if problem.code != "extra-file"]
        if broken:
            raise UserError(broken)
    else:
        warnings = (f"{name} was not sealed: nothing tells whether it is complete",)
    step = _trained_steps(path)
    newest = _newest_own(folder)
    if newest is not None and newest > step:
        raise UserError(
            Problem(
                code="trained-before",
                path="resume_from_checkpoint",
                place=str(folder.path),
                message=f"output_dir already has newer checkpoints, up to step {newest}, and they are never overwritten",
                fix="resume from the newest, remove the newer ones, or set another output_dir",
            )
        )
    return Start(checkpoint=path, step=step, reason=f"resuming from step {step}: named by resume_from_checkpoint", warnings=warnings)


def _trained_steps(checkpoint: Path) -> int:
    import json

    try:
        return int(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["global_step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            Problem(
                code="missing-file",
                path="resume_from_checkpoint",
                place=str(checkpoint),
                message=f"its trainer_state.json cannot be read: {error}",
                fix="use another checkpoint",
            )
        ) from error


def _newest_own(folder: RunFolder) -> int | None:
    entries = [entry for place in (folder.checkpoints, folder.portions) if place.is_dir() for entry in place.iterdir()]
    return max((step for entry in entries if (step := step_of(entry.name)) is not None and is_sealed(entry)), default=None)
