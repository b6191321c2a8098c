"""Memory as it is measured: the room there is, the peak of a piece of work, and work that runs out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.train

MIB = 2**20


class FakeCuda:
    """torch.cuda over GPUs of 1000 bytes, of which others hold 100; the peak is reset as the real one is."""

    def __init__(self) -> None:
        self.allocated = {0: 50, 1: 0}
        self.peak = {0: 700, 1: 0}
        self.emptied = 0

    def mem_get_info(self, device: int) -> tuple[int, int]:
        return 900 - self.memory_reserved(device), 1000

    def memory_reserved(self, device: int) -> int:
        return self.allocated[device] + 30

    def memory_allocated(self, device: int) -> int:
        return self.allocated[device]

    def max_memory_allocated(self, device: int) -> int:
        return self.peak[device]

    def reset_peak_memory_stats(self, device: int) -> None:
        self.peak[device] = self.allocated[device]

    def empty_cache(self) -> None:
        self.emptied += 1

    def synchronize(self, device: int) -> None:
        assert device in self.allocated

    def take(self, device: int, size: int) -> None:
        self.peak[device] = max(self.peak[device], self.allocated[device] + size)


def test_a_gpu_is_measured_by_its_allocator_from_the_work_alone() -> None:
    from runtime.training.meter import CudaMeter

    cuda = FakeCuda()
    meter = CudaMeter([0, 1], cuda=cuda)
    assert meter.room() == {"cuda:0": 900, "cuda:1": 900}
    assert meter.held() == {"cuda:0": 50, "cuda:1": 0}
    reading = meter.reading_of(lambda: cuda.take(0, 400))
    assert (reading.peak, reading.ended) == ({"cuda:0": 450, "cuda:1": 0}, True)
    assert cuda.peak == cuda.allocated, "the peak of training is counted anew"


def test_memory_that_runs_out_is_told_and_any_other_error_raised() -> None:
    import torch

    from runtime.training.meter import CpuMeter, CudaMeter

    cuda = FakeCuda()

    def work() -> None:
        cuda.take(1, 850)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    reading = CudaMeter([0, 1], cuda=cuda).reading_of(work)
    assert (reading.peak["cuda:1"], reading.ended) == (850, False)
    for meter in (CudaMeter([0], cuda=cuda), CpuMeter()):
        with pytest.raises(ZeroDivisionError):
            meter.reading_of(lambda: 1 / 0)
    assert not CpuMeter().reading_of(lambda: torch.empty(2**60)).ended


def test_a_machine_is_measured_by_the_resident_set() -> None:
    import time

    import torch

    from runtime.training.meter import CpuMeter

    meter = CpuMeter()

    def work() -> None:
        held = torch.ones(96 * MIB // 4)
        time.sleep(0.05)
        del held

    before = meter.held()["cpu"]
    peak = meter.reading_of(work).peak["cpu"]
    assert 64 * MIB < peak - before < 512 * MIB
    assert meter.room()["cpu"] > before


def container(root: Path, **files: str) -> Path:
    for name, text in files.items():
        (root / name.replace("_", ".", 1)).write_text(text, encoding="ascii")
    return root


def test_a_container_s_limit_bounds_the_room(tmp_path: Path) -> None:
    from runtime.training.meter import CpuMeter, cgroup_left

    limited = container(tmp_path, memory_max="1000000\n", memory_current="600000\n", memory_stat="anon 1\ninactive_file 50000\n")
    assert cgroup_left(limited) == 450_000
    meter = CpuMeter(processes=2, cgroup=limited)
    assert meter.room()["cpu"] - meter.held()["cpu"] == pytest.approx(225_000, abs=4 * MIB)
    container(tmp_path, memory_max="max\n")
    assert cgroup_left(tmp_path) == cgroup_left(tmp_path / "none") > 2**60


@pytest.mark.parametrize(("kinds", "name"), [(["cuda:1", "cpu", "cuda:0"], "CudaMeter"), (["cpu"], "CpuMeter")])
def test_a_model_on_a_gpu_is_measured_there(kinds: list[str], name: str) -> None:
    import torch

    from runtime.training.meter import meter_of

    made: Any = meter_of((torch.device(kind) for kind in kinds), processes=1)
    assert type(made).__name__ == name
    assert getattr(made, "_devices", None) in ((0, 1), None)
