"""Going on with another number of processes than a checkpoint was made by: the same rows in the same steps."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.checkpoint.manifest import read_manifest
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.training.cadence import Cadence, cadence_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """By how many processes a checkpoint was made, and how many rows each of them saw in a step: micro batches of so many rows, so many of them."""

    processes: int
    micro_batch_size: int
    gradient_accumulation_steps: int
    counted_for: int
    """For how many processes the run's steps were counted: those it began with."""
    length_group: int
    """Rows that were shuffled together by length, where they were."""

    @property
    def step_rows(self) -> int:
        """Rows of one optimizer step, all processes together."""
        return self.processes * self.micro_batch_size * self.gradient_accumulation_steps


def made_by(checkpoint: Path | None, config: Any, *, rows: int) -> Made | None:
    """How `checkpoint` was made; None without one, or when nothing tells. One of an earlier version tells the processes, and the recipe the rest."""
    if checkpoint is None:
        return None
    try:
        kept = json.loads((checkpoint / "session.json").read_text(encoding="utf-8"))
        processes = kept.get("processes") or read_manifest(checkpoint).world_size
    except (OSError, ValueError, UserError):
        return None
    recipe = cadence_of(config, rows=rows, world_size=processes, evaluates=False)
    whole = recipe.micro_batch_size * recipe.gradient_accumulation_steps
    micro = kept.get("micro_batch_size") or recipe.micro_batch_size
    accumulation = kept.get("gradient_accumulation_steps") or max(1, whole // micro)
    return Made(
        processes=processes,
        micro_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        counted_for=kept.get("counted_for") or processes,
        length_group=kept.get("length_group") or micro * accumulation,
    )


def rescaled(cadence: Cadence, made: Made | None, *, rows: int, world_size: int, drop_last: bool) -> Cadence:
    """`cadence`, which counts the steps for `made.counted_for` processes, with the same steps for `world_size` of them.

    Step by step the rows are those they would have been, in their order, since a process takes every n-th micro batch of one common order: it is the
    accumulation that makes up for more or fewer processes, and a smaller micro batch where that does not divide evenly. Raises UserError (exit 3) when
    the rows of a step cannot be shared out evenly: going on would train some rows twice and others never.
    """
    if made is None:
        return cadence
    if made.processes == world_size == cadence.counted_for:
        return replace(cadence, length_group=made.length_group)
    for micro in range(min(made.micro_batch_size, max(1, made.step_rows // world_size)), 0, -1):
        if made.step_rows % (micro * world_size):
            continue
        accumulation = made.step_rows // (micro * world_size)
        batches = rows // (micro * world_size) if drop_last else math.ceil(rows / (micro * world_size))
        if max(1, math.ceil(batches / accumulation)) == cadence.steps_per_epoch:
            return replace(cadence, micro_batch_size=micro, gradient_accumulation_steps=accumulation, length_group=made.length_group)
    raise UserError(
        Problem(
            code="other-processes",
            path="launch.processes",
            message=f"the checkpoint was made by {made.processes} processes with {made.step_rows} rows a step, which {world_size} cannot share evenly",
            fix=f"use a number of processes that divides {made.step_rows}, {made.processes} for one",
        ),
        exit_code=ExitCode.REFUSED,
    )


def sentence(made: Made | None, cadence: Cadence, *, world_size: int) -> str:
    """What the user is told; empty when the number of processes is the same."""
    if made is None or made.processes == world_size:
        return ""
    return (
        f"made by {made.processes} {'process' if made.processes == 1 else 'processes'}, going on with {world_size}: each step trains the same "
        f"{made.step_rows} rows (micro_batch_size {cadence.micro_batch_size}, gradient_accumulation_steps {cadence.gradient_accumulation_steps}); "
        "sums are rounded in another order and dropout is drawn anew, so the run is not bit for bit the one it would have been"
    )
