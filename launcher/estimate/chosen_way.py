"""The way a new recipe trains on the GPUs it is for: the first of all ways that its estimate says fits, and the largest batch that does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.estimate.estimate import MemoryEstimate, memory_of
from launcher.estimate.gpus import GpuCount, gpu_kinds
from launcher.estimate.hardware import Hardware, cards
from launcher.estimate.model_source import ModelSource
from launcher.estimate.rows import UNKNOWN
from launcher.estimate.sharding import in_host_memory_gib
from launcher.recipe.way import Figures, Way, ways
from runtime.config.load import Checked

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

COUNTS = (1, 2, 4, 8)
HOST_GIB = 192.0
"""Host memory for each GPU that shards may wait in. Machines with eight H100 or H200 have 256 GiB for each, with eight A100 of 80 GB 140 to 250 (SkyPilot's
catalogs, November 2026)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A way with one row at a time: what it needs, and whether it can be run, or why not."""

    way: Way
    config: TrainingConfig
    memory: MemoryEstimate
    host_gib: float = 0.0
    """Host memory that the shards of all GPUs wait in."""
    gpus: int = 1
    invalid: str = ""
    """What is wrong with the recipe this way."""

    @property
    def refused(self) -> str:
        """Why it cannot be run on so many GPUs; empty where it can."""
        if self.invalid or self.host_gib <= HOST_GIB * self.gpus:
            return self.invalid
        return f"its shards would take {self.host_gib:,.0f} GiB of host memory, more than machines with so many GPUs have"

    @property
    def built(self) -> bool:
        """Whether it can be run on so many GPUs, as far as anything but their own memory goes."""
        return not self.refused

    @property
    def holds(self) -> bool:
        """Whether it may be chosen at all."""
        return self.built and self.memory.verdict != "does-not-fit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was tried, in order up to the one that surely fits, and which of it is taken: None where nothing holds the recipe."""

    tried: tuple[Tried, ...]
    taken: Tried | None

    def figures(self, needs_gib: float) -> Figures:
        """The figures that comments are written from; `needs_gib` is of the batch that is taken."""
        plain = self.tried[0].memory
        host = self.taken.host_gib if self.taken is not None else 0.0
        return Figures(needs_gib=needs_gib, plain_gib=plain.held.value, card_gib=plain.capacity_gib, host_gib=host)


def chosen_way(written: Callable[[Way], Checked], model: ModelSource, hardware: Hardware) -> Choice:
    """The first way that surely fits `hardware`, else the one that needs the least and may. `written` is the recipe with one row at a time, rendered and checked.

    A way that makes the recipe invalid is passed over, and kept among what was tried where its memory is known.
    """
    tried: list[Tried] = []
    for way in ways(hardware.processes):
        checked = written(way)
        config = checked.config or checked.draft
        if config is None:
            continue
        step, memory = memory_of(config, model, hardware, UNKNOWN)
        host_gib = in_host_memory_gib(model.facts, step.workload)
        invalid = checked.errors[0].message if checked.config is None else ""
        found = Tried(way=way, config=config, memory=memory, host_gib=host_gib, gpus=hardware.processes, invalid=invalid)
        tried.append(found)
        if found.built and found.memory.verdict == "fits":
            return Choice(tried=tuple(tried), taken=found)
    # `min` takes the first of equals: what saves nothing is left out.
    return Choice(
        tried=tuple(tried),
        taken=min((found for found in tried if found.holds), key=lambda found: round(found.memory.held.value, 1), default=None),
    )


def smallest_target(tried: Iterable[Tried], model: ModelSource) -> GpuCount | None:
    """The fewest and then the smallest NVIDIA GPUs that hold one of the valid ways by themselves; None where no machine does."""
    # How much memory the machines around small GPUs have is not known well enough to count on it.
    valid = [found for found in tried if not found.invalid and not found.way.offloaded]
    kinds = sorted((kind for kind in gpu_kinds() if kind.vendor == "NVIDIA" and kind.bf16_tflops), key=lambda kind: kind.capacity_gib)
    for count in COUNTS:
        for kind in kinds:
            target = GpuCount(gpu=kind, count=count)
            # More cards help only where the state is spread over them.
            for found in (found for found in valid if found.way.sharded == (count > 1)):
                if memory_of(found.config, model, cards(target), UNKNOWN)[1].verdict != "does-not-fit":
                    return target
    return None
