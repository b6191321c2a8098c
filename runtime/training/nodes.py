"""The machines of a run, when there are several: how their processes meet, and how a checkpoint comes to each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from runtime.checkpoint.stored import RunStore
    from runtime.training.processes import Rank
    from runtime.training.resume import Start

COUNT, RANK, HEAD = "LAUNCHER_NODES", "LAUNCHER_NODE_RANK", "LAUNCHER_HEAD"
"""How many machines there are, which of them this is, and the address of the first; set by whoever starts a process on each."""
# torchrun's own default port is the one other jobs of a shared machine use too.
_PORT = 29411


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """This machine among those of the run."""

    count: int = 1
    rank: int = 0
    head: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Nodes:
        """What the environment says; one machine when it says nothing."""
        count = int(environment.get(COUNT) or 1)
        return cls(count=count, rank=int(environment.get(RANK) or 0), head=environment.get(HEAD, "")) if count > 1 else cls()

    @property
    def meeting(self) -> list[str]:
        """torchrun's arguments for how its agents on the machines find each other."""
        if self.count == 1:
            return ["--standalone"]
        return ["--nnodes", str(self.count), "--node-rank", str(self.rank), "--master-addr", self.head, "--master-port", str(_PORT)]


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
