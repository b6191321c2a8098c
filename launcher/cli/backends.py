"""The backend the commands talk to, built from this process's environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from launcher.backend.local.machine import LocalBackend
from launcher.backend.protocol import Backend, RunStatus
from launcher.cli.output import note
from launcher.state.progress import Progress
from launcher.state.runs import RunFolder, find_run, list_runs, state_root
from launcher.state.stored_run import stored_runs
from runtime.config.problem import UserError
from runtime.record import RunRecord

if TYPE_CHECKING:
    from pathlib import Path

    from launcher.backend.sky.machine import SkyBackend


def local_backend(*, quiet: bool = False) -> LocalBackend:
    """This machine; its progress reports go to stderr unless `quiet`."""
    from platformdirs import user_data_path

    return LocalBackend(
        state_root=state_root(),
        data_root=user_data_path("finetune-launcher", appauthor=False),
        environment=dict(os.environ),
        report=(lambda _: None) if quiet else note,
    )


def sky_backend(*, quiet: bool = False, templates: Path | None = None) -> SkyBackend:
    """Rented machines, by way of the SkyPilot installed beside the launcher, which is not looked for before it is needed. `templates` is a folder of the
    user's own that was named for this command."""
    from launcher.backend.sky.machine import SkyBackend
    from launcher.backend.sky.skypilot import SkyPilot
    from launcher.recipe.template_folders import template_folders

    return SkyBackend(
        state_root=state_root(),
        environment=dict(os.environ),
        report=(lambda _: None) if quiet else note,
        cloud=SkyPilot(),
        templates=template_folders(templates, environment=os.environ),
    )


def backend_of(name: str, *, storage: str | None = None, quiet: bool = False) -> tuple[Backend, str]:
    """The backend that runs the run `name` begins, and the run's id. With `storage`, a run that is not known here is looked for there.

    Raises UserError when there is none or more than one.
    """
    try:
        folder = find_run(state_root(), name)
    except UserError as error:
        if storage is None or any(problem.code != "unknown-run" for problem in error.problems):
            raise
        folder = sky_backend(quiet=True).adopt(storage, name)
    return (sky_backend(quiet=quiet) if _is_rented(folder) else local_backend(quiet=quiet)), folder.run


def sweep_of(name: str, *, storage: str | None = None, quiet: bool = False) -> tuple[Backend, list[str]] | None:
    """The runs of the sweep `name`, in their order, with the backend that runs them; None when no sweep known here, or in `storage`, is called so."""
    root = state_root()
    if (root / "runs" / name).is_dir():
        return None
    rented = sky_backend(quiet=quiet) if storage is not None else None
    if rented is not None and storage is not None:
        _adopt_all(rented, storage, beginning=f"{name}-")
    found = []
    for folder in list_runs(root):
        try:
            record = folder.record()
        except UserError:
            continue
        if record.sweep == name:
            found.append(record)
    if not found:
        return None
    backend: Backend = local_backend(quiet=quiet) if found[0].backend == "local" else rented or sky_backend(quiet=quiet)
    return backend, [record.run for record in sorted(found, key=lambda record: (record.created, record.run))]


def known_statuses(*, storage: str | None = None) -> list[RunStatus]:
    """Every run this computer knows, the newest first; with `storage`, those found there too. A storage that does not answer shows what was last known."""
    rented = sky_backend(quiet=True) if storage is not None or knows_rented() else None
    if rented is not None and storage is not None:
        _adopt_all(rented, storage)
    local = local_backend()
    found = [local.status(record.run) for record in local.runs() if record.backend == local.name]
    if rented is not None:
        found += [_status_or_record(rented, record) for record in rented.runs()]
    return sorted(found, key=lambda status: status.record.created, reverse=True)


def _adopt_all(rented: SkyBackend, storage: str, *, beginning: str = "") -> None:
    """Make the runs of a storage known here whose names begin so."""
    known = {folder.run for folder in list_runs(state_root())}
    for run in stored_runs(rented.stores(storage), wanted=lambda run: run not in known and run.startswith(beginning)):
        try:
            rented.adopt(storage, run)
        except UserError as error:
            # One that cannot be read hides no other.
            if any(problem.code not in ("bad-record", "newer-format", "not-rented", "unknown-run") for problem in error.problems):
                raise
            note(f"{run}: {error.problems[0].message}")


def _status_or_record(backend: Backend, record: RunRecord) -> RunStatus:
    try:
        return backend.status(record.run)
    except (OSError, UserError) as error:
        note(f"{record.run}: its storage does not answer ({error})")
        return RunStatus(record=record, progress=Progress())


def _is_rented(folder: RunFolder) -> bool:
    try:
        return folder.record().backend != "local"
    except UserError:
        return False


def knows_rented(run: str | None = None) -> bool:
    """Whether a run on rented machines is known on this computer; whether `run` is one, where it is given."""
    return any(_is_rented(folder) for folder in list_runs(state_root()) if run is None or folder.run == run)


def full_name(backend: LocalBackend, name: str) -> str:
    """The id of the run that `name` begins. Raises UserError when there is none or more than one."""
    return find_run(backend.state_root, name).run
