"""How far the memory estimate is off on runs measured by others. `python benchmarks/estimate.py [--rows]`

`benchmarks/data/memory_measured.csv` holds rows of public measurement series with their sources. Each row is mapped to a workload by what its source
says about the stack. Peaks the allocator reported are compared with the estimate's tensors; reserved memory and nvidia-smi with what the card must hold.
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Literal

from launcher.estimate.architectures import facts_from_config
from launcher.estimate.card import on_card
from launcher.estimate.gpus import find_gpu
from launcher.estimate.known_models import known_config
from launcher.estimate.memory import peak_of
from launcher.estimate.workload import Adapter, Attention, Checkpointing, Loss, Quantization, Sharding, Workload

ROWS = Path(__file__).parent / "data" / "memory_measured.csv"

TARGETS = {
    "q v (fused attn qkv layer)": ("qkv_proj", "q_proj", "v_proj", "query_key_value"),
    "q v o mlp": ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "q v o(mlp?)": ("q_proj", "v_proj", "o_proj"),
    "q v": ("q_proj", "v_proj"),
    "q k v o mlp lm_head": None,
    "q k v o": ("q_proj", "k_proj", "v_proj", "o_proj"),
}


def main() -> None:
    """Print errors by stack and method."""
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    skipped = 0
    for row in csv.DictReader(ROWS.open(encoding="utf-8")):
        error = _error(row)
        if error is None:
            skipped += 1
            continue
        stack = row["framework"].split()[0].rstrip(",")
        groups[(stack, row["method"], "allocated" if _allocated(row) else "reserved")].append(error)
        if "--rows" in sys.argv:
            print(
                f"{row['id']:12} {row['model_id'].split('/')[-1][:22]:22} {row['method']:6} b{row['micro_batch']} s{row['seq_len']} {row['grad_ckpt'][:8]:8} {row['attn'][:8]:8} "
                f"{row['parallelism'][:6]:6} n{row['n_gpus']} measured {float(row['mem_gib']):7.2f}  {error:+7.1%}"
            )
    print(f"{'stack':14} {'method':7} {'kind':10} {'rows':>4} {'mean |e|':>9} {'median |e|':>10} {'p90 |e|':>8} {'bias':>7}")
    everything: dict[str, list[float]] = defaultdict(list)
    for (stack, method, kind), errors in sorted(groups.items()):
        _line(stack, method, kind, errors)
        everything[kind].extend(errors)
    for kind, errors in sorted(everything.items()):
        _line("all", "", kind, errors)
    print(f"{skipped} rows left out: out of memory, unstated batch, or a setting that is not modelled (tensor or context parallel, GRPO)")


def _line(stack: str, method: str, kind: str, errors: list[float]) -> None:
    size = sorted(abs(error) for error in errors)
    p90 = size[min(len(size) - 1, int(0.9 * len(size)))]
    print(
        f"{stack:14} {method:7} {kind:10} {len(errors):4} {statistics.mean(size):9.1%} {statistics.median(size):10.1%} {p90:8.1%} {statistics.mean(errors):+7.1%}"
    )


def _allocated(row: dict[str, str]) -> bool:
    return row["mem_kind"] in ("torch_peak_alloc", "torch_peak_active")


def _error(row: dict[str, str]) -> float | None:
    if (
        row["oom"] == "1"
        or not row["micro_batch"]
        or not row["mem_gib"]
        or "tp=" in row["parallelism"]
        or "cp=" in row["parallelism"]
        or row["task"] == "grpo"
    ):
        return None
    if row["seq_exact"] == "0":
        return None
    config = known_config(row["model_id"])
    if config is None:
        return None
    facts = facts_from_config(config)
    workload = workload_of(row)
    peak = peak_of(facts, workload)
    gpu = find_gpu(row["gpu"])
    if _allocated(row):
        predicted = peak.tensors_gib
    else:
        held = on_card(peak.tensors_gib, gpus=int(row["n_gpus"]), packed=True, capability=gpu.compute_capability if gpu else None)
        predicted = held.value if "smi" in row["mem_kind"] else held.value - held.context_gib
    return predicted / float(row["mem_gib"]) - 1


def workload_of(row: dict[str, str]) -> Workload:
    """The workload a row's source describes."""
    framework = row["framework"]
    hf = "HF" in framework or "fsdp_qlora" in framework or "LLaMA" in framework
    kbit = "upcast to fp32" in row["weight_dtype"]
    quant: Quantization = "none"
    if row["quant"].startswith("nf4-dq"):
        quant = "nf4-dq"
    elif row["quant"].startswith("nf4"):
        quant = "nf4"
    adapter = None
    if row["method"] in ("lora", "qlora"):
        adapter = Adapter(
            rank=int(row["lora_r"] or 8),
            targets=TARGETS.get(row["lora_targets"]),
            dropout=0.05 if framework.startswith("lit-gpt") else 0.0,
            parameter_bytes=4 if hf else 2,
        )
    autocast = hf or "fp32 master" in row["weight_dtype"] or "float32" in row["weight_dtype"]
    checkpointing: Checkpointing = "none"
    if "offload" in row["grad_ckpt"]:
        checkpointing = "offload"
    elif row["grad_ckpt"].startswith(("full", "unsloth")):
        checkpointing = "full"
    elif row["grad_ckpt"].startswith("selective"):
        checkpointing = "selective"
    attention: Attention = "flash"
    if row["attn"].startswith("eager"):
        attention = "eager"
    kind: Literal["none", "ddp", "fsdp"] = "none"
    if row["parallelism"].startswith("fsdp"):
        kind = "fsdp"
    elif row["parallelism"].startswith("ddp"):
        kind = "ddp"
    loss: Loss = "upcast"
    if "chunk" in row["kernels"].lower() or row["id"].startswith("tt-r"):
        # torchtune's chunks hold all 16-bit logits and cast one chunk at a time.
        loss = "plain" if framework == "torchtune" and adapter is None else "chunked"
    elif "unsloth" in row["kernels"]:
        loss = "in-place"
    elif kbit and quant != "none":
        loss = "fp32"
    optimizer = "adamw_torch"
    if row["optimizer"].startswith("Paged"):
        optimizer = "paged_adamw_8bit" if "8bit" in row["optimizer"] else "paged_adamw"
    elif "8bit" in row["optimizer"]:
        optimizer = "adamw_bnb_8bit"
    elif "fused" in row["optimizer"]:
        optimizer = "adamw_torch_fused"
    residual = 4 if kbit and quant != "none" else 2
    return Workload(
        adapter=adapter,
        quantization=quant,
        residual_bytes=residual,
        autocast=autocast,
        optimizer=optimizer,
        micro_batch=int(row["micro_batch"]),
        sequence=int(float(row["seq_len"])),
        accumulation=1,
        checkpointing=checkpointing,
        attention=attention,
        masked=False,
        holds_logits=framework.startswith("HF transformers"),
        loss=loss,
        compiled="torch.compile" in row["kernels"],
        steps_in_backward="in_bwd" in row["optimizer"] or "optimizer_in_bwd" in row["notes"],
        sharding=Sharding(
            kind=kind,
            gpus=int(row["n_gpus"]) if kind != "none" else 1,
            offload=row["offload"] not in ("none", ""),
            version=1 if "fsdp1" in row["parallelism"] else 2,
        ),
    )


if __name__ == "__main__":
    main()
