"""Counts the bytes of live tensors while code runs on a CPU: what a GPU's allocator would count as allocated, without one."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensors(TorchDispatchMode):
    """Within it, every storage that an operation returns counts from then until it is freed, once however many tensors look at it.

    `peaks` holds the most bytes that were alive in each `phase`, a name that whoever uses it sets. Scratch space inside an operation is not seen.
    """

    def __init__(self, present: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.live = 0
        self.peaks: dict[str, int] = {}
        self._phase = ""
        self._known: set[int] = set()
        for tensor in present:
            self._see(tensor)

    def enter(self, phase: str) -> None:
        """Count what follows, and what is alive now, as `phase`."""
        self._phase = phase
        self._note()

    def clear(self) -> None:
        """Forget the peaks so far."""
        self.peaks.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._see(leaf)
        self._note()
        return result

    def _note(self) -> None:
        self.peaks[self._phase] = max(self.peaks.get(self._phase, 0), self.live)

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or size == 0:
            return
        self._known.add(key)
        self.live += size
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size
