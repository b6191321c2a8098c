"""What an estimate is made for: GPUs of one kind, or a machine without any."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.estimate.gpus import Gpu, GpuCount
from launcher.estimate.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """`gpus` when there are any, else the processor. `capacity_gib` is of one card, or of the machine's memory; `available_gib` what of it is free now."""

    name: str
    capacity_gib: float
    gpus: GpuCount | None = None
    nodes: int = 1
    cores: int = 0
    processes: int = 1
    available_gib: float | None = None
    rented: bool = True

    @property
    def place(self) -> Place:
        """What matters for how a step is computed."""
        if self.gpus is None:
            return Place(device="cpu", gpus=self.processes, bf16=False)
        return Place(device="cuda", gpus=self.gpus.count * self.nodes, bf16=self.gpus.gpu.bf16_tflops is not None)

    @property
    def room_gib(self) -> float:
        """What a run may take: the card, or the memory that is free."""
        return self.capacity_gib if self.available_gib is None else min(self.available_gib, self.capacity_gib)


def cards(kind: GpuCount, *, nodes: int = 1) -> Hardware:
    """So many GPUs of a kind on each of `nodes` rented machines."""
    gpu: Gpu = kind.gpu
    return Hardware(
        name=str(kind) if nodes == 1 else f"{nodes} × {kind}",
        capacity_gib=gpu.capacity_gib,
        gpus=kind,
        nodes=nodes,
        processes=kind.count * nodes,
    )
