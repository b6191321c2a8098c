"""How the checkpoint that a run goes on from comes to every machine of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.config.problem import Problem, UserError
from runtime.training.nodes import Nodes

if TYPE_CHECKING:
    from runtime.checkpoint.stored import RunStore
    from runtime.training.processes import Rank
    from runtime.training.resume import Start


def bring_start(start: Start, rank: Rank, nodes: Nodes, store: RunStore | None) -> None:
    """Have the checkpoint that the head goes on from on every machine, from the run's store. All processes must call it.

    Raises UserError when there is no store to bring it from.
    """
    if nodes.count == 1 or start.checkpoint is None:
        return
    if nodes.rank > 0 and rank.local == 0:
        if store is None:
            raise UserError(
                Problem(
                    code="missing",
                    path="launch.storage",
                    message="several machines go on from one checkpoint, which each has to bring from the run's storage, and there is none",
                    fix="set launch.storage",
                )
            )
        from runtime.checkpoint.fetching import copy_sealed

        name = f"{start.checkpoint.parent.name}/{start.checkpoint.name}"
        start.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        copy_sealed(store, store.manifest(name), start.checkpoint)
    rank.barrier()
