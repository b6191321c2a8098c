"""How the GPUs of a run share its work, and where it saves memory without changing what it computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Templates see it as `way`, with the figures of `seen`. With nothing set, each GPU holds all of the training state and keeps nothing elsewhere.

    `sharded` spreads weights, gradients and optimizer over the GPUs (FSDP2), `offloaded` keeps those shards in host memory; `chunked_loss` scores the
    vocabulary part by part; `offloaded_activations` keeps the inputs of the layers in host memory.
    """

    sharded: bool = False
    offloaded: bool = False
    chunked_loss: bool = False
    offloaded_activations: bool = False

    def seen(self, figures: Figures | None) -> dict[str, Any]:
        """What a template sees: the way, and the figures it was chosen by (None where it was not chosen for a GPU)."""
        return asdict(self) | {"figures": asdict(figures) if figures is not None else None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """GiB that a card must hold the way that was chosen, `plain_gib` the plain way with one row at a time, and what the card has; `host_gib` of the shards
    of all cards waits in host memory."""

    needs_gib: float
    plain_gib: float
    card_gib: float
    host_gib: float = 0.0


PLAIN = Way()


def ways(gpus: int) -> Iterator[Way]:
    """The ways to train on so many GPUs, those that cost the least time first."""
    yield PLAIN
    yield Way(chunked_loss=True)
    yield Way(chunked_loss=True, offloaded_activations=True)
    if gpus > 1:
        yield Way(sharded=True)
        yield Way(sharded=True, chunked_loss=True, offloaded_activations=True)
        yield Way(sharded=True, offloaded=True, chunked_loss=True, offloaded_activations=True)
