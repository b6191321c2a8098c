"""Bringing a run's model, or one of its checkpoints, to a folder of the user's choice, whole and verified or not at all."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.backend.elsewhere import ELSEWHERE, PATIENCE
from launcher.state.refusals import refusal
from runtime.checkpoint.fetching import copy_sealed
from runtime.checkpoint.layout import CHECKPOINTS, FINAL, MANIFEST, MERGED, WEIGHTS, step_folder
from runtime.checkpoint.manifest import DAMAGE, Kind, Manifest, is_sealed, read_manifest, verify
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.patience import SHORT
from runtime.checkpoint.staging import drop_staging, new_staging, sweep_staging
from runtime.checkpoint.stored import RunStore, folder_name, newest_step
from runtime.checkpoint.transit import Transit
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.record import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What was copied, and the folder or address it came from."""

    path: Path
    source: str
    files: int
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Available:
    """Something of a run that is sealed and can be pulled."""

    kind: Kind
    step: int
    source: str
    total_bytes: int


def available(record: RunRecord) -> tuple[Available, ...]:
    """All that is sealed in the run's output folder and in its storage: checkpoints by step, then weights, the final and the merged model.

    Manifests are read, files are not. What both places have is told once, of the folder. Raises UserError when the store cannot be reached.
    """
    found: dict[tuple[Kind, int], Available] = {}
    if (output := _output(record)) is not None:
        for folder in (*sorted((output / CHECKPOINTS).glob("step-*")), output / WEIGHTS, output / FINAL, output / MERGED):
            with suppress(UserError):
                _note(found, _require_own(read_manifest(folder), folder.relative_to(output).as_posix(), str(folder)), str(folder))
    place = _place(record)
    if place is not None:
        steps = place.patiently(place.steps)
        names = [f"{CHECKPOINTS}/{step_folder(step)}" for step, has_manifest in sorted(steps.items()) if has_manifest]
        for name in (*names, WEIGHTS, FINAL, MERGED):
            if (stored := _stored_manifest(place, name)) is not None and folder_name(stored) == name:
                _note(found, stored, place.url(name))
    order = {kind: rank for rank, kind in enumerate(("checkpoint", "weights", "final", "merged"))}
    return tuple(sorted(found.values(), key=lambda one: (order[one.kind], one.step)))


def newest_stored(record: RunRecord) -> int:
    """Step of the newest sealed checkpoint in the run's storage, -1 when there is none. Raises UserError when the store cannot be reached."""
    place = _place(record)
    if place is None:
        return -1
    step = replace(place, patience=SHORT).patiently(lambda: newest_step(place))
    return -1 if step is None else step


def _note(found: dict[tuple[Kind, int], Available], manifest: Manifest, source: str) -> None:
    if manifest.kind == "portion":
        # Found here only where somebody has put it.
        return
    one = Available(kind=manifest.kind, step=manifest.step, source=source, total_bytes=manifest.total_bytes)
    found.setdefault((one.kind, one.step), one)


def _stored_manifest(place: RunStore, name: str) -> Manifest | None:
    """None when there is none, or it is broken: then there is nothing to pull."""
    try:
        return place.patiently(lambda: place.manifest(name), place.url(name))
    except FileNotFoundError:
        return None
    except UserError as error:
        if any(problem.code not in DAMAGE for problem in error.problems):
            raise
        return None


def pull(record: RunRecord, target: Path, *, step: int | None = None, weights: bool = False, transit: Transit | None = None) -> Pulled:
    """Copy the run's final model, its checkpoint of `step`, or its `weights`-only save into `target`, which must be empty or missing.

    The output folder is looked into first, then, where it has nothing or something damaged, the run's storage. Raises UserError when neither has it sealed, when the copy differs from the
    manifest (exit 7), when the store cannot be reached (exit 8), or when `target` cannot take it. `transit` is told of what moves.
    """
    target = target.expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(_taken(target))
    # Of one that was killed.
    sweep_staging(target.parent)
    staging = new_staging(target.parent)
    try:
        copy = staging / "copy"
        source = _bring(record, copy, step, weights=weights, transit=transit)
        checked = [_check(folder) for folder in (copy, copy / MERGED.removeprefix(f"{FINAL}/")) if (folder / MANIFEST).is_file()]
        if target.exists():
            target.rmdir()
        copy.rename(target)
    except OSError as error:
        # Somebody else, or another pull, has put something there meanwhile.
        taken = error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and target.exists()
        raise UserError(_taken(target) if taken else refusal(error, target)) from error
    except UserError as error:
        if all(problem.code == "disk-full" for problem in error.problems):
            raise UserError(_full(error.problems[0], target)) from error
        raise
    finally:
        drop_staging(staging)
    return Pulled(path=target, source=source, files=sum(count for count, _ in checked), total_bytes=sum(size for _, size in checked))


def _taken(target: Path) -> Problem:
    return Problem(code="output-taken", message="something is here already", place=str(target), fix="choose an empty or new folder with -o")


def _full(told: Problem, target: Path) -> Problem:
    """A full disk in the words of somebody who copies, where it was told in those of a training."""
    return replace(
        told, message=told.message.partition(";")[0], place=str(target), fix="free space there, or choose a folder on another disk with -o"
    )


def _bring(record: RunRecord, copy: Path, step: int | None, *, weights: bool, transit: Transit | None) -> str:
    """Copies what is asked for to `copy`; returns where it was found."""
    output = _output(record)
    name = WEIGHTS if weights else FINAL if step is None else f"{CHECKPOINTS}/{step_folder(step)}"
    source = _bring_one(record, name, copy, transit)
    if source is None:
        raise UserError(_nothing(record, step, weights=weights))
    # A merged model lies inside the final folder under a manifest of its own, which the outer one does not cover.
    if name == FINAL and (output is None or is_sealed(output / MERGED) or source != str(output / FINAL)):
        _bring_one(record, MERGED, copy / MERGED.removeprefix(f"{FINAL}/"), transit)
    return source


def _bring_one(record: RunRecord, name: str, copy: Path, transit: Transit | None) -> str | None:
    """Where the sealed folder `name` was copied from: the output folder, or the storage if that has none, or one that is damaged. None when neither has it."""
    output, place = _output(record), _place(record)
    local = None if output is None else output / name
    damage: UserError | None = None
    if local is not None and is_sealed(local):
        try:
            copy_sealed(local, _require_own(read_manifest(local), name, str(local)), copy, transit=transit)
            return str(local)
        except UserError as error:
            if any(problem.code not in DAMAGE for problem in error.problems):
                raise
            damage = error
    if place is not None and _copy_stored(place, name, copy, transit):
        return place.url(name)
    if damage is not None:
        raise damage
    return None


def _output(record: RunRecord) -> Path | None:
    """The run's output folder; None where that was on a rented machine. What this computer has under its name is another run's."""
    return Path(record.output_dir) if record.backend == "local" else None


def _place(record: RunRecord) -> RunStore | None:
    return RunStore(store=open_store(record.storage), run=record.run, patience=PATIENCE) if record.storage is not None else None


def _copy_stored(place: RunStore, name: str, copy: Path, transit: Transit | None) -> bool:
    with suppress(FileNotFoundError):
        manifest = place.patiently(lambda: place.manifest(name), place.url(name))
        copy_sealed(place, _require_own(manifest, name, place.url(name)), copy, transit=transit)
        return True
    return False


def _require_own(manifest: Manifest, name: str, where: str) -> Manifest:
    """`manifest`, when it is that of the folder `name`. Raises UserError `bad-manifest` when the folder was renamed, or another's manifest put there."""
    if folder_name(manifest) == name:
        return manifest
    problem = Problem(
        code="bad-manifest",
        place=where,
        message=f"its manifest is of {manifest.kind} step {manifest.step}: the folder was renamed",
        fix="take another one; --list shows what there is",
    )
    raise UserError(problem, exit_code=ExitCode.NOT_VERIFIED)


def _nothing(record: RunRecord, step: int | None, *, weights: bool) -> Problem:
    shows = f"`launcher pull {record.run}{f' --storage {record.storage}' if record.backend == ELSEWHERE else ''} --list` shows what it has"
    where = f" in {' or '.join(place for place in (record.output_dir if _output(record) else None, record.storage) if place)}"
    if weights:
        return Problem(
            code="no-model",
            message=f"run '{record.run}' has no weights-only save{where}",
            fix=f"{shows}; weights alone are saved when a notice leaves no time for a checkpoint",
        )
    if step is not None:
        return Problem(
            code="no-checkpoint",
            message=f"run '{record.run}' has no sealed checkpoint of step {step}{where}",
            fix=shows,
        )
    return Problem(
        code="no-model",
        message=f"run '{record.run}' has no final model yet ({record.state})",
        fix=f"{shows}; --step copies a checkpoint, --weights what was saved in a hurry",
    )


def _check(folder: Path) -> tuple[int, int]:
    # Every byte was compared on its way here.
    manifest = read_manifest(folder)
    problems = verify(folder, manifest, deep=False)
    if problems:
        raise UserError(problems, exit_code=ExitCode.NOT_VERIFIED)
    return len(manifest.files), manifest.total_bytes
