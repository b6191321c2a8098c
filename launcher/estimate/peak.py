"""The moments of a step with what is alive in each, and the fullest of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GIB = float(2**30)
TERMS = ("weights", "adapter", "gradients", "optimizer", "activations", "logits", "buffers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One moment of a step and the bytes alive in it, by term."""

    name: str
    terms: Mapping[str, float]

    @property
    def total(self) -> float:
        """All bytes of the phase."""
        return sum(self.terms.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The phases of a step; the fullest one is the peak."""

    phases: tuple[Phase, ...]

    @property
    def phase(self) -> Phase:
        """The fullest phase."""
        return max(self.phases, key=lambda phase: phase.total)

    @property
    def tensors_gib(self) -> float:
        """What the allocator reports as allocated at its peak, GiB."""
        return self.phase.total / GIB

    @property
    def breakdown_gib(self) -> dict[str, float]:
        """The terms of the fullest phase, GiB."""
        return {term: self.phase.terms.get(term, 0.0) / GIB for term in TERMS}
