"""What a run is to run on, as far as it is known: the GPUs, the packages, and the shape of the model that must fit them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What of a model's config a parallel run must divide. None where it is not known; `context` is its longest sequence in tokens."""

    heads: int | None = None
    kv_heads: int | None = None
    context: int | None = None
    parameters: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """GPUs of one kind on so many nodes, or a processor when `gpu` is None.

    `compute_capability` is NVIDIA's, None without a GPU and for GPUs of other makers. `processes` is the number of training processes, one a GPU when
    None. `packages` are the installed distributions by their normalized names (`flash-attn`), None where nobody looked.
    """

    gpu: str | None = None
    compute_capability: tuple[int, int] | None = None
    gpus_per_node: int = 0
    nodes: int = 1
    memory_per_gpu_gib: float | None = None
    processes: int | None = None
    packages: frozenset[str] | None = None
    model: ModelShape | None = None

    @property
    def gpus(self) -> int:
        """GPUs of all nodes."""
        return self.gpus_per_node * self.nodes if self.gpu is not None else 0

    @property
    def world_size(self) -> int:
        """Training processes of all nodes."""
        return self.processes or self.gpus or self.nodes

    def lacks(self, capability: tuple[int, int]) -> bool:
        """Whether the GPUs are known to be older than `capability`. Without a GPU, or with one of unknown age, nothing is known."""
        return self.gpu is not None and self.compute_capability is not None and self.compute_capability < capability

    def has(self, capability: tuple[int, int]) -> bool:
        """Whether the GPUs are known to be of `capability` or newer."""
        return self.gpu is not None and self.compute_capability is not None and self.compute_capability >= capability

    def __str__(self) -> str:
        if self.gpu is None:
            return "a machine without a GPU"
        return f"{self.gpu} (compute capability {shown(self.compute_capability)})" if self.compute_capability is not None else self.gpu


def capability(number: float | None) -> tuple[int, int] | None:
    """8.6 as (8, 6), as the tables of GPUs and nvidia-smi write it."""
    return None if number is None else divmod(round(number * 10), 10)


def shown(wanted: tuple[int, int]) -> str:
    """(8, 6) as `8.6`."""
    return f"{wanted[0]}.{wanted[1]}"
