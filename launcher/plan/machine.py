"""This machine as hardware a run may use: its processor, its memory, its GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess

from launcher.estimate.gpus import Gpu, GpuCount, find_gpu
from launcher.estimate.hardware import Hardware


def this_machine(*, processes: int | None = None) -> Hardware:
    """This machine: its GPUs when nvidia-smi names any, else its processor and free memory."""
    import psutil

    gpus = _gpus()
    memory = psutil.virtual_memory()
    cores = _cores()
    gib = 2**30
    if gpus:
        kind = gpus[0]
        count = min(len(gpus), processes) if processes else len(gpus)
        return Hardware(
            name="this machine",
            capacity_gib=kind.capacity_gib,
            gpus=GpuCount(gpu=kind, count=count),
            cores=cores,
            processes=count,
            rented=False,
        )
    return Hardware(
        name="this machine",
        capacity_gib=_limit(memory.total) / gib,
        cores=cores,
        processes=processes or 1,
        available_gib=min(memory.available, _limit(memory.total)) / gib,
        rented=False,
    )


def _cores() -> int:
    """Processors this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _limit(total: int) -> int:
    """Bytes of memory a container leaves us, at most the machine's."""
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as stream:  # noqa: PTH123 - a kernel file
            text = stream.read().strip()
    except OSError:
        return total
    return min(total, int(text)) if text.isdigit() else total


def _gpus() -> list[Gpu]:
    """The NVIDIA GPUs here, empty when there are none or their driver does not answer within 5 seconds."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for line in answer.stdout.splitlines() if (gpu := _gpu(line)) is not None]


def _gpu(line: str) -> Gpu | None:
    """One line of nvidia-smi as a GPU kind; a card the table lacks is described by what the line says."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) < 3 or not fields[1].isdigit():
        return None
    name, capacity = fields[0], int(fields[1]) / 1024
    known = [gpu for candidate in names_of_card(name, capacity) if (gpu := find_gpu(candidate)) is not None]
    if known:
        return known[0]
    capability = float(fields[2]) if fields[2].replace(".", "", 1).isdigit() else None
    has_bf16 = capability is not None and capability >= 8
    return Gpu(
        name=name,
        aliases=(),
        vendor="NVIDIA",
        compute_capability=capability,
        # torch reports a little less than the driver does.
        capacity_gib=capacity * 0.985,
        bf16_tflops=60.0 if has_bf16 else None,
        fp16_tflops=60.0,
        fp32_tflops=15.0,
        bandwidth_gb_s=500.0,
        nvlink=False,
    )


def names_of_card(name: str, capacity_gib: float) -> list[str]:
    """Names under which the table may have a card called `NVIDIA A100-SXM4-80GB`."""
    words = name.replace("NVIDIA ", "").replace("GeForce ", "").replace("Tesla ", "").strip()
    first = words.split("-")[0].split(" ")[0]
    large = [f"{first}-80GB"] if capacity_gib > 60 else []
    return [words, words.replace(" ", ""), *large, first]
