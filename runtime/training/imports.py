"""Leaving out imports a run has no use for: a process that is started again after every death should start quickly."""

from __future__ import annotations

import sys
from typing import Any

# Optimizers that come with torch itself.
_PLAIN_OPTIMIZERS = frozenset({None, "adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop"})


def leave_out_unused(config: Any) -> None:
    """Have bitsandbytes count as not installed in this process, unless the recipe quantizes or takes one of its optimizers.

    peft imports it wherever it is installed, and it imports torch's compiler: a fifth of the time to the first step of a small run
    (2 of 10.7 CPU-s, measured 2026-11-22).
    """
    uses = config.load_in_4bit or config.load_in_8bit or str(config.optimizer or "adamw_torch_fused") not in _PLAIN_OPTIMIZERS
    if not uses and "bitsandbytes" not in sys.modules:
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
