"""What each logit of a loss costs, measured by others, beside what the estimate counts.

`benchmarks/data/loss_head.csv` holds benchmark tables of loss kernels with their sources. A table with several sizes gives a slope, which leaves out weights
and fixed buffers; one size alone counts whole.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass

from launcher.estimate.facts import ModelFacts
from launcher.estimate.logits import loss_bytes
from launcher.estimate.workload import Adapter, Loss, Workload
from memory.rows import DATA

MIB = 2**20
_Point = tuple[int, int, int, float]  # tokens, vocabulary, hidden width, bytes

# Which of our losses a measured implementation computes. The others of the file are kernels of layers, or losses that are counted as one of these.
SAME: dict[tuple[str, str], Loss] = {
    ("fused_linear_cross_entropy", "huggingface"): "plain",
    ("fused_linear_cross_entropy", "liger"): "fused",
    ("fused_linear_cpo_loss", "huggingface"): "upcast",
    ("fused_linear_cpo_loss", "liger"): "fused",
    ("fused_linear_orpo_loss", "huggingface"): "upcast",
    ("fused_linear_orpo_loss", "liger"): "fused",
    ("fused_linear_simpo_loss", "huggingface"): "upcast",
    ("fused_linear_simpo_loss", "liger"): "fused",
    ("fused_linear_grpo_loss_token", "torch"): "policy",
    ("fused_linear_grpo_loss_sequence", "torch"): "policy",
    ("lm_head+CE fwd+bwd", "cce"): "cut",
    ("lm_head+CE fwd+bwd", "liger fused_linear_ce"): "fused",
    ("lm_head+CE fwd+bwd", "one big bf16 GEMM"): "upcast",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PerLogit:
    """Bytes for each of tokens × vocabulary: measured over `sizes` sizes, and counted by the estimate as `loss`."""

    kernel: str
    implementation: str
    loss: Loss
    sizes: int
    measured: float
    counted: float


def per_logit() -> list[PerLogit]:
    """Every implementation of the file that is one of the estimate's losses."""
    points: dict[tuple[str, str], list[_Point]] = {}
    with (DATA / "loss_head.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            key = (row["kernel"], row["impl"])
            if key in SAME and row["tokens"] and row["vocab"] and row["mem_mib"]:
                sizes = (int(float(row[name])) for name in ("tokens", "vocab", "hidden"))
                points.setdefault(key, []).append((*sizes, float(row["mem_mib"]) * MIB))
    found = []
    for (kernel, implementation), of_sizes in sorted(points.items()):
        loss = SAME[kernel, implementation]
        few, many = min(of_sizes), max(of_sizes)
        logits, measured, counted = many[0] * many[1], many[3], _counted(loss, many)
        if many[0] > few[0]:
            logits, measured, counted = logits - few[0] * few[1], measured - few[3], counted - _counted(loss, few)
        found.append(
            PerLogit(
                kernel=kernel,
                implementation=implementation,
                loss=loss,
                sizes=len({point[0] for point in of_sizes}),
                measured=measured / logits,
                counted=counted / logits,
            )
        )
    return found


def print_per_logit(found: list[PerLogit]) -> None:
    """A table, one implementation a line."""
    print(f"\n{'bytes of a logit, by others':34} {'of':22} {'as':9} {'sizes':>5} {'measured':>9} {'counted':>8}")
    for row in found:
        print(f"{row.kernel:34} {row.implementation:22} {row.loss:9} {row.sizes:5} {row.measured:9.2f} {row.counted:8.2f}")


def _counted(loss: Loss, point: _Point) -> float:
    """Bytes that the estimate counts for a loss below a frozen head, with the 16-bit states that a benchmark makes and their gradient."""
    tokens, vocab, hidden, _ = point
    facts = ModelFacts(name="", model_type="", hidden=hidden, vocab=vocab, tied=False, blocks=())
    return loss_bytes(facts, Workload(adapter=Adapter(rank=1), loss=loss, sequence=tokens)) + 2 * tokens * hidden * 2.0
