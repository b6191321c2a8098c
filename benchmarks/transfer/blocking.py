"""How long saves hold training up: a checkpoint of tensors, written and sealed as a run does it."""

from __future__ import annotations

import statistics
from pathlib import Path


def blocking_share(folder: Path, size: int, saves: int = 3) -> dict[str, float]:
    """The median blocking time of a save of `size` bytes, the interval a run with a store chooses for it, and the share of time that is.

    A third of the bytes are weights in safetensors, the rest is the state of an optimizer, as in full training with Adam's two moments. The interval
    is that of `save_interval_s` where nothing is known about the machine, `preemption_h` hours between two preemptions.
    """
    import torch
    from safetensors.torch import save_file

    from runtime.config.beat import DEFAULT_PREEMPTION_H, save_interval_s
    from runtime.training.folder import RunFolder
    from runtime.training.processes import Rank
    from runtime.training.saving import Saver

    parameters = size // 12
    weights = {"weight": torch.randn(parameters)}
    state = {"state": {0: {"exp_avg": torch.randn(parameters), "exp_avg_sq": torch.randn(parameters)}}}
    saver = Saver(folder=RunFolder(path=folder), rank=Rank(), config_text="", config_hash="bench", emit=lambda *_a, **_k: None, limit=1)

    def write(target: Path) -> None:
        save_file(weights, target / "model.safetensors")
        torch.save(state, target / "optimizer.pt")

    blocked = []
    for number in range(saves):
        saver.settle()
        saver.save(number + 1, write)
        blocked.append(saver.blocking_s)
    saver.settle()
    median = statistics.median(blocked)
    interval_s = save_interval_s(median, DEFAULT_PREEMPTION_H)
    return {
        "blocking_s": round(median, 3),
        "interval_s": round(interval_s, 1),
        "share": round(median / interval_s, 5),
        "preemption_h": DEFAULT_PREEMPTION_H,
    }
