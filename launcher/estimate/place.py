"""What a training step runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a step runs on: so many GPUs, or the CPU of one machine."""

    device: Literal["cuda", "cpu"] = "cuda"
    gpus: int = 1
    bf16: bool = True
