"""The machines of a run, when there are several, and how their processes meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COUNT, RANK, HEAD = "LAUNCHER_NODES", "LAUNCHER_NODE_RANK", "LAUNCHER_HEAD"
"""How many machines there are, which of them this is, and the address of the first, as `HOST` or `HOST:PORT`; set by whoever starts a process on each."""
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
        host, _, port = self.head.partition(":") if self.head.count(":") == 1 else (self.head, "", "")
        return ["--nnodes", str(self.count), "--node-rank", str(self.rank), "--master-addr", host, "--master-port", port or str(_PORT)]
