"""How fast a card or a CPU trains: work per token, and the share of the peak that runs reach."""

from __future__ import annotations

import bisect
from typing import Literal

from launcher.estimate.facts import ModelFacts
from launcher.estimate.gpus import Gpu
from launcher.estimate.range import Range
from launcher.estimate.workload import Workload

Method = Literal["full", "lora", "qlora"]

# Share of the peak an A100 reaches by tokens per micro batch, one GPU, a frozen base counted at two passes (public rows, collected in benchmarks/data/throughput_measured.csv).
TOKENS = (512, 1024, 2048, 4096, 8192, 16384)
SHARE_OF_PEAK: dict[Method, tuple[float, ...]] = {
    "full": (0.06, 0.11, 0.22, 0.39, 0.50, 0.51),
    "lora": (0.16, 0.27, 0.30, 0.33, 0.34, 0.40),
    "qlora": (0.07, 0.20, 0.25, 0.31, 0.35, 0.42),
}

# Factors without and with checkpointing. One pass in four is recomputed in full training, one in three over a frozen base; in practice steps take 15 to 30 %
# longer. The full rows mix both, the others were measured with checkpointing.
_RECOMPUTE: dict[Method, tuple[float, float]] = {"full": (1.07, 0.93), "lora": (1.25, 1.0), "qlora": (1.2, 1.0)}

# Against an A100, by public rows of the same kind: H100 0.8 of the table in full training (77 rows), 0.9 to 1.25 with LoRA; H200 17 to 31 % of its peak with
# either; B200 6 to 15 % with the first software for it and 33 to 38 % with tuned kernels; T4 8 to 17 %. Unlisted kinds take 0.85.
AGAINST_A100 = {
    "A100": 1.0,
    "A100-80GB": 1.0,
    "H100": 0.85,
    "H100-MEGA": 0.85,
    "H100-NVL": 0.85,
    "H100-PCIe": 0.85,
    "H200": 0.65,
    "GH200": 0.65,
    "B200": 0.4,
    "GB200": 0.4,
    "B300": 0.4,
    "RTX4090": 1.1,
    "RTX3090": 1.0,
    "RTXA6000": 0.75,
    "L40S": 0.65,
    "L4": 0.75,
    "T4": 0.3,
    "V100": 0.5,
    "V100-32GB": 0.5,
    "P100": 0.4,
}
MEASURED = frozenset({"A100", "A100-80GB", "H100", "H200", "B200", "RTX4090", "RTX3090", "RTXA6000", "L40S", "T4"})

# Kinds whose kernels still change from month to month: runs differ by a factor of ten between one stack and the next.
YOUNG = frozenset({"B200", "GB200", "B300", "RTX5090", "RTXPRO6000"})
_YOUNG = (0.25, 2.6)

# Two cards or more without NVLink lose most under sharding (2x3090 FSDP 4 % against 47 %; 4x4090 8.7 %), little in plain data parallel training. Over NVLink, sharded runs (Mosaic, 139 rows on A100) meet
# the one-card table with a median ratio of 1.0.
SHARDED_OVER_PCIE = 0.35

# Share of the peak that fused attention's own products reach, forward and backward, by the generation of the card. FlashAttention-2's authors show 50 to 70 %
# on an A100 at large heads, and its successor's 35 % for it on an H100; public rows at 32k to 64k tokens, where attention is most of the work, lie lower.
ATTENTION_SHARE = {8: 0.35, 9: 0.22, 10: 0.2}

# fp32 GFLOP/s a core of a server CPU gives a training step of torch: matrix products alone reach 30 to 60, small models and the rest of a step far less.
CPU_GFLOPS_PER_CORE = (2.0, 15.0, 50.0)


def flops_per_token(facts: ModelFacts, workload: Workload) -> float:
    """Multiplications and additions of a training step for one token, recomputation left out: 2 per weight and pass, and causal attention's half square.

    Full fine-tuning makes three passes; a frozen base two, as its weights get no gradients, while attention's backward pass stays whole.
    """
    forward = 2.0 * facts.multiplied_weights
    attention = _attention_flops(facts, workload)
    if workload.adapter is None:
        total = 3 * (forward + attention)
    else:
        adapter = sum(count * 6.0 * workload.adapter.rank * (m.d_in + m.d_out) for count, m in facts.matrices() if not m.stacked)
        total = 2 * forward + 3 * attention + adapter
    if workload.reference_model:
        total += forward + attention
    return total


def _attention_flops(facts: ModelFacts, workload: Workload) -> float:
    """Work of attention's own products for one token and one pass forward: the causal half of the square, or of its window."""
    return sum(count * 2.0 * block.query_width * min(workload.sequence, block.window or workload.sequence) for count, block in facts.blocks)


def tokens_per_s(facts: ModelFacts, workload: Workload, gpu: Gpu) -> Range:
    """Tokens a second of one GPU of `workload.sharding.gpus`."""
    method: Method = "full" if workload.adapter is None else ("lora" if workload.quantization == "none" else "qlora")
    share = _share(method, workload.tokens) * AGAINST_A100.get(gpu.name, 0.85)
    share *= _RECOMPUTE[method][0 if workload.checkpointing in ("none", "selective") else 1]
    if workload.checkpointing == "offload":
        share *= 0.95  # 1 to 5 % slower by public reports
    sharding = workload.sharding
    if sharding.shards_weights:
        share *= 1.0 if gpu.nvlink else SHARDED_OVER_PCIE
    if workload.attention == "eager":
        share *= 0.7
    peak = gpu.half_tflops if workload.compute_bytes == 2 else gpu.fp32_tflops
    passes = 3 + (1 if workload.reference_model else 0)
    attention = passes * _attention_flops(facts, workload)
    slower = max(1.0, share / ATTENTION_SHARE.get(int(gpu.compute_capability or 8), 0.35))
    value = share * peak * 1e12 / (flops_per_token(facts, workload) + (slower - 1) * attention)
    known = gpu.name in MEASURED and (gpu.nvlink or not sharding.shards_weights)
    low, high = _YOUNG if gpu.name in YOUNG else (0.6, 1.5) if known else (0.4, 1.8)
    return Range(
        value=value,
        low=value * low,
        high=value * high,
        basis=f"{share:.0%} of {peak:.0f} TFLOPS on {gpu.name}, from public runs" + ("" if gpu.name in MEASURED else " on other cards"),
    )


def cpu_tokens_per_s(facts: ModelFacts, workload: Workload, *, cores: int) -> Range:
    """Tokens a second of a machine without a GPU."""
    recompute = 1.3 if workload.checkpointing != "none" else 1.0
    work = flops_per_token(facts, workload) * recompute
    low, mid, high = (cores * rate * 1e9 / work for rate in CPU_GFLOPS_PER_CORE)
    rates = CPU_GFLOPS_PER_CORE
    return Range(value=mid, low=low, high=high, basis=f"{cores} cores at {rates[0]:g} to {rates[2]:g} GFLOP/s each, not measured here")


def _share(method: Method, tokens: int) -> float:
    """The table's share of peak between its columns."""
    shares = SHARE_OF_PEAK[method]
    if tokens <= TOKENS[0]:
        return max(0.02, shares[0] * tokens / TOKENS[0])
    if tokens >= TOKENS[-1]:
        return shares[-1]
    right = bisect.bisect_right(TOKENS, tokens)
    left = right - 1
    weight = (tokens - TOKENS[left]) / (TOKENS[right] - TOKENS[left])
    return shares[left] + weight * (shares[right] - shares[left])
