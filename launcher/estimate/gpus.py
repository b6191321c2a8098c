"""The GPU kinds an estimate knows, and how a recipe names them."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runtime.config.problem import ExitCode, Problem, UserError

_FILE = Path(__file__).resolve().parent.parent / "data" / "gpus.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One kind of GPU. `capacity_gib` is what torch reports as the card's total memory, below the number on the box; TFLOPS are dense, without sparsity."""

    name: str
    aliases: tuple[str, ...]
    vendor: str
    compute_capability: float | None
    capacity_gib: float
    bf16_tflops: float | None
    fp16_tflops: float | None
    fp32_tflops: float
    bandwidth_gb_s: float
    nvlink: bool

    @property
    def half_tflops(self) -> float:
        """Dense TFLOPS of 16-bit products, in bf16 where the card has it."""
        return self.bf16_tflops or self.fp16_tflops or self.fp32_tflops


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCount:
    """So many GPUs of a kind, on one machine."""

    gpu: Gpu
    count: int

    def __str__(self) -> str:
        return f"{self.count}×{self.gpu.name}"


def parse_gpus(text: str) -> GpuCount:
    """`A100-80GB:8` as a kind and a count; the count defaults to 1. Raises UserError for an unknown kind or a count that is no number."""
    name, _, count = text.partition(":")
    gpu = find_gpu(name)
    if gpu is None:
        import difflib

        near = difflib.get_close_matches(name.upper(), [kind.name.upper() for kind in gpu_kinds()], n=1)
        known = next((kind.name for kind in gpu_kinds() if near and kind.name.upper() == near[0]), None)
        raise UserError(
            Problem(
                code="unknown-name",
                message=f"no GPU kind is called {name!r}" + (f": did you mean {known}?" if known else ""),
                place="--gpus",
                fix="kinds known here: " + ", ".join(kind.name for kind in gpu_kinds()),
                suggestion=known,
            ),
            exit_code=ExitCode.INVALID,
        )
    if count and not re.fullmatch(r"[1-9][0-9]{0,3}", count):
        raise UserError(
            Problem(code="wrong-type", message=f"{count!r} is not a number of GPUs", place="--gpus", fix=f"write it as {gpu.name}:8"),
            exit_code=ExitCode.INVALID,
        )
    return GpuCount(gpu=gpu, count=int(count or 1))


def find_gpu(name: str) -> Gpu | None:
    """The kind with this name or alias; case, spaces, dashes and the vendor's name do not matter."""
    wanted = _plain(name)
    for gpu in gpu_kinds():
        if wanted == _plain(gpu.name):
            return gpu
    for gpu in gpu_kinds():
        if wanted in (_plain(alias) for alias in gpu.aliases):
            return gpu
    return None


@cache
def gpu_kinds() -> tuple[Gpu, ...]:
    """All kinds, in the order of the file."""
    with _FILE.open(encoding="utf-8", newline="") as stream:
        return tuple(_gpu(row) for row in csv.DictReader(stream))


def _gpu(row: dict[str, str]) -> Gpu:
    def number(key: str) -> float | None:
        try:
            return float(row[key])
        except ValueError:
            return None

    return Gpu(
        name=row["name"],
        aliases=tuple(alias.strip() for alias in row["also"].split(",") if alias.strip()),
        vendor=row["vendor"],
        compute_capability=number("compute_capability"),
        capacity_gib=float(row["capacity_gib"]),
        bf16_tflops=number("bf16_tflops"),
        fp16_tflops=number("fp16_tflops"),
        fp32_tflops=float(row["fp32_tflops"]),
        bandwidth_gb_s=float(row["bandwidth_gb_s"]),
        # An optional bridge between two cards is not counted on.
        nvlink=row["interconnect"].startswith(("NVLink", "Infinity")),
    )


def _plain(name: str) -> str:
    return re.sub(r"nvidia|tesla|geforce|[^a-z0-9]", "", name.lower())
