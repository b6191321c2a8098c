"""A run that is decided and can be submitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.plan.offer import Offer
    from launcher.task.room import Room
    from runtime.config.schema import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to run, under which name. `config` is settled (see `settled`); relative paths of its data and model start from `cwd`."""

    run: str
    recipe: str
    config: TrainingConfig
    cwd: Path
    chaos: tuple[str, ...] = ()
    expected_gib: float | None = None
    """The peak that one process is expected to measure; None where it is not known."""
    offers: tuple[Offer, ...] = ()
    """What rented machines cost, for those who rent."""
    room: Room | None = None
    """What the run needs of a rented machine besides GPUs; None where it is not known."""
    sweep: str | None = None
    """The name that the runs of one grid share."""
    values: Mapping[str, str] = field(default_factory=dict)
    """What this run of a sweep has of each varied option, as it was written."""
    after: str | None = None
    """The run on the same machine whose end this one waits for."""


def settled(config: TrainingConfig, *, run: str, cwd: Path) -> TrainingConfig:
    """The config with the run's name, and with the folders it writes to made absolute, so that other terminals find them.

    A recipe that names no output_dir gets one of its own, `model-out/RUN`; storage that is a URL stays as it is.
    """
    launch = config.launch
    chosen = config.output_dir if "output_dir" in config.model_fields_set and config.output_dir else f"model-out/{run}"
    storage = launch.storage
    if storage is not None and "://" not in storage:
        storage = str(cwd / Path(storage).expanduser())
    update = {"name": run} | ({"storage": storage} if storage is not None else {})
    return config.model_copy(update={"output_dir": str(cwd / Path(chosen).expanduser()), "launch": launch.model_copy(update=update)})
