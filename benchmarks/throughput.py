"""How many measured training speeds lie in the range the estimate gives. `python benchmarks/throughput.py [--rows]`

`benchmarks/data/throughput_measured.csv` holds public rows with their sources: tokens a second of one GPU, other people's stacks. Coverage is the share of
rows inside low to high; the ratio is measured over expected.
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from launcher.estimate.architectures import facts_from_config
from launcher.estimate.facts import ModelFacts
from launcher.estimate.gpus import find_gpu
from launcher.estimate.known_models import known_config
from launcher.estimate.range import Range
from launcher.estimate.speed import tokens_per_s
from launcher.estimate.workload import Adapter, Sharding, Workload

ROWS = Path(__file__).parent / "data" / "throughput_measured.csv"

# Shapes of llm-foundry's models (scripts/train/yamls/pretrain): width, layers, heads.
MPT = {
    "mpt-125m": (768, 12, 12),
    "mpt-350m": (1024, 24, 16),
    "mpt-760m": (1536, 24, 12),
    "mpt-1b": (2048, 24, 16),
    "mpt-3b": (2560, 32, 20),
    "mpt-7b": (4096, 32, 32),
    "mpt-13b": (5120, 40, 40),
    "mpt-30b": (7168, 48, 56),
    "mpt-70b": (8192, 80, 64),
}
OTHERS = {
    "Llama-3-8B": "meta-llama/Llama-3.1-8B",
    "Llama-3-70B": "meta-llama/Llama-3.1-70B",
    "Llama-2-7b": "meta-llama/Llama-2-7b-hf",
    "Llama-2-70b": "meta-llama/Llama-2-70b-hf",
    "Yi-34B": "01-ai/Yi-34B",
    "Qwen2.5-7B": "Qwen/Qwen2.5-7B",
    "Qwen2.5-32B": "Qwen/Qwen2.5-32B",
}
CARDS = {"H100-80GB-SXM": "H100", "A100-40GB": "A100"}


def main() -> None:
    """Print coverage and ratios by source."""
    groups: dict[tuple[str, str, str], list[tuple[float, bool]]] = defaultdict(list)
    skipped = 0
    for row in csv.DictReader(ROWS.open(encoding="utf-8")):
        expected = _expected(row)
        if expected is None:
            skipped += 1
            continue
        measured = float(row["tok_s_gpu"])
        inside = expected.low <= measured <= expected.high
        source = row["id"].split("-")[0]
        groups[(source, row["method"], row["gpu"])].append((measured / expected.value, inside))
        if "--rows" in sys.argv:
            print(
                f"{row['id']:12} {row['model']:12} {row['gpu']:14} n{row['n_gpus']:4} b{row['micro_batch']:3} s{row['seq_len']:7} "
                f"measured {measured:9.0f}  expected {expected.value:9.0f}  {measured / expected.value:5.2f} {'' if inside else 'OUTSIDE'}"
            )
    print(f"{'source':8} {'method':6} {'card':14} {'rows':>4} {'inside':>7} {'ratio p5':>9} {'median':>7} {'p95':>6}")
    everything: list[tuple[float, bool]] = []
    for (source, method, card), rows in sorted(groups.items()):
        _line(source, method, card, rows)
        everything += rows
    _line("all", "", "", everything)
    print(f"{skipped} rows left out: FP8, or a card the table lacks")


def _line(source: str, method: str, card: str, rows: list[tuple[float, bool]]) -> None:
    ratios = sorted(ratio for ratio, _ in rows)
    inside = sum(inside for _, inside in rows) / len(rows)
    print(
        f"{source:8} {method:6} {card:14} {len(rows):4} {inside:7.0%} {ratios[len(ratios) // 20]:9.2f} {statistics.median(ratios):7.2f} "
        f"{ratios[min(len(ratios) - 1, len(ratios) * 19 // 20)]:6.2f}"
    )


def _expected(row: dict[str, str]) -> Range | None:
    gpu = find_gpu(CARDS.get(row["gpu"], row["gpu"]))
    if gpu is None or "fp8" in row["precision"].lower():
        return None
    gpus = int(row["n_gpus"])
    sharded = any(word in row["parallelism"].lower() for word in ("fsdp", "zero3"))
    workload = Workload(
        adapter=Adapter(rank=16) if row["method"] == "lora" else None,
        micro_batch=int(row["micro_batch"]),
        sequence=int(row["seq_len"]),
        checkpointing="full" if row["grad_ckpt"] == "full" else "none",
        attention="flash",
        sharding=Sharding(kind="fsdp" if sharded else "ddp", gpus=gpus) if gpus > 1 else Sharding(),
    )
    return tokens_per_s(_facts(row), workload, gpu)


def _facts(row: dict[str, str]) -> ModelFacts:
    if row["model"] in MPT:
        width, layers, heads = MPT[row["model"]]
        shape = {"model_type": "mpt", "d_model": width, "n_layers": layers, "n_heads": heads, "vocab_size": 50368}
        return facts_from_config(shape | {"max_seq_len": int(row["seq_len"]), "expansion_ratio": 4}, name=row["model"])
    config = known_config(OTHERS[row["model"]])
    assert config is not None, row["model"]
    return facts_from_config(config, name=row["model"])


if __name__ == "__main__":
    main()
