"""A short training of machines with disks of their own, and the storage that brings together what each of them holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from machines import Agents, Machines

from runtime.checkpoint.manifest import Manifest
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.restore import survey
from runtime.checkpoint.stored import RunStore

RUN = "apart"
# Dropout: each process draws from a random state of its own, which only its own machine writes.
SHORT: dict[str, Any] = {
    "adapter": "lora",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "lora_target_linear": True,
    "output_dir": "out",
    "micro_batch_size": 4,
    "max_steps": 10,
    "save_steps": 2,
    "save_total_limit": 2,
    "val_set_size": 0,
    "eval_steps": None,
    "logging_steps": 1,
    "auto_resume_from_checkpoints": True,
}
long_only = pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="a minute each; LONG_TESTS=1")


@dataclass(frozen=True)
class Apart:
    """Starts a recipe's run on several folders, each a machine's own disk, over the storage at `address`."""

    address: str
    recipe: Callable[..., Path]
    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    def disks(self, where: str, count: int = 2) -> list[Path]:
        return [self.root / where / f"machine-{index}" for index in range(count)]

    def machines(self, disks: list[Path], *overrides: str, own: Mapping[int, Mapping[str, str]] | None = None, **values: Any) -> Machines:
        return Machines(disks, self.written(**values), *overrides, environment=self.variables, own=own)

    def agents(self, disks: list[Path], *overrides: str, **values: Any) -> Agents:
        return Agents(disks, self.written(**values), *overrides, environment=self.variables)

    def written(self, **values: Any) -> Path:
        return self.recipe(RUN, **{**SHORT, "launch": {"storage": self.address, "name": RUN}, **values})

    def calm(self, **values: Any) -> dict[str, str]:
        """The weights of an undisturbed run, on one disk."""
        undisturbed = self.machines([self.root / "calm"] * 2, "launch.storage=null", **values)
        assert undisturbed.end() == [0, 0], undisturbed.log
        return undisturbed.weights()

    def newest(self) -> Manifest | None:
        """The newest checkpoint in the storage, every byte of it read. Nothing newer claims to be one and is not."""
        seen = survey([RunStore(store=open_store(self.address), run=RUN)])
        assert [problem.code for problem in seen.skipped if problem.code != "unsealed"] == []
        return seen.found.manifest if seen.found is not None else None
