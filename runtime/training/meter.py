"""How much memory a piece of work takes on the devices it runs on, and how much there is."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil
import torch

from runtime.training.failure import ran_out_of_memory

Bytes = dict[str, int]

_SAMPLE_S = 0.005
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The most memory held while a piece of work ran, by device, and whether it came to its end or ran out of memory on the way."""

    peak: Bytes
    ended: bool = True


class Meter(Protocol):
    """Measures the devices of one process. `place` is what they are called in a sentence.

    An `exact` meter sees every byte; one that is not takes in what else the process holds and what others do, so that only a far miss tells anything.
    """

    place: str
    exact: bool

    def room(self) -> Bytes:
        """The most this process can hold, with what it holds already."""
        ...

    def held(self) -> Bytes:
        """What it holds now."""
        ...

    def reading_of(self, work: Callable[[], object]) -> Reading:
        """Do `work` and tell its peak. Memory that runs out is told and cleaned up after; any other error is raised."""
        ...


class CudaMeter:
    """PyTorch's allocator on the GPUs with the given indices, against what the driver says is free. `cuda` is torch's module."""

    place = "this GPU"
    exact = True

    def __init__(self, devices: Iterable[int], *, cuda: Any = torch.cuda) -> None:
        self._devices = tuple(devices)
        self._cuda = cuda

    def room(self) -> Bytes:
        """What is free on each GPU, and what the allocator has taken already."""
        return {f"cuda:{one}": self._cuda.mem_get_info(one)[0] + self._cuda.memory_reserved(one) for one in self._devices}

    def held(self) -> Bytes:
        """What tensors take on each GPU."""
        return {f"cuda:{one}": self._cuda.memory_allocated(one) for one in self._devices}

    def reading_of(self, work: Callable[[], object]) -> Reading:
        """The allocator's peak; it starts to count anew, before and after."""
        self._begin()
        ended = _came_to_its_end(work)
        for one in self._devices:
            self._cuda.synchronize(one)
        peak = {f"cuda:{one}": self._cuda.max_memory_allocated(one) for one in self._devices}
        self._begin()
        return Reading(peak=peak, ended=ended)

    def _begin(self) -> None:
        self._cuda.empty_cache()
        for one in self._devices:
            self._cuda.reset_peak_memory_stats(one)


class CpuMeter:
    """The resident set of this process, looked at every few milliseconds, against what the machine or its container leaves. `processes` share the latter."""

    place = "this machine"
    exact = False

    def __init__(self, *, processes: int = 1, cgroup: Path = _CGROUP) -> None:
        self._processes = processes
        self._cgroup = cgroup
        self._self = psutil.Process()

    def room(self) -> Bytes:
        """This process' share of the memory that is left, and what it holds."""
        left = min(psutil.virtual_memory().available, cgroup_left(self._cgroup))
        return {"cpu": left // self._processes + self._resident()}

    def held(self) -> Bytes:
        """The resident set."""
        return {"cpu": self._resident()}

    def reading_of(self, work: Callable[[], object]) -> Reading:
        """The largest resident set that was seen."""
        seen, over = [self._resident()], threading.Event()

        def watch() -> None:
            while not over.wait(_SAMPLE_S):
                seen.append(self._resident())

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            ended = _came_to_its_end(work)
        finally:
            seen.append(self._resident())
            over.set()
            watcher.join()
        return Reading(peak={"cpu": max(seen)}, ended=ended)

    def _resident(self) -> int:
        return int(self._self.memory_info().rss)


def meter_of(devices: Iterable[torch.device], *, processes: int) -> Meter:
    """The meter for a model on `devices`: of its GPUs, or of this machine's memory when it is on none."""
    gpus = sorted({device.index or 0 for device in devices if device.type == "cuda"})
    return CudaMeter(gpus) if gpus else CpuMeter(processes=int(os.environ.get("LOCAL_WORLD_SIZE", processes)))


def _came_to_its_end(work: Callable[[], object]) -> bool:
    """Whether `work` had memory enough; where not, what it held is let go."""
    try:
        work()
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
    else:
        return True
    # The error is gone here, and with it the tensors in the frames that it passed; cycles among them go with the garbage.
    gc.collect()
    return False


def cgroup_left(root: Path) -> int:
    """Bytes that a container's limit leaves; very many without a limit. What the kernel can take back, such as pages of files, counts as left."""
    try:
        limit = (root / "memory.max").read_text(encoding="ascii").strip()
        used = int((root / "memory.current").read_text(encoding="ascii"))
        parts = dict(line.split() for line in (root / "memory.stat").read_text(encoding="ascii").splitlines())
        return int(limit) - used + int(parts.get("inactive_file", 0)) if limit.isdigit() else 2**62
    except (OSError, ValueError):
        return 2**62
