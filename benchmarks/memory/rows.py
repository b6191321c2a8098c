"""Rows of public measurement series, each as a model, a workload and what it took.

`benchmarks/data/memory_measured.csv` holds the rows with their sources. A row is mapped to a workload by what its source says about the stack.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launcher.estimate.architectures import facts_from_config
from launcher.estimate.facts import ModelFacts
from launcher.estimate.gpus import Gpu, find_gpu
from launcher.estimate.known_models import known_config
from launcher.estimate.workload import Adapter, Checkpointing, Quantization, Sharding, ShardingKind, Workload
from memory.stacks import Stack, stack_of

DATA = Path(__file__).resolve().parent.parent / "data"
MEASURED = DATA / "memory_measured.csv"

TARGETS = {
    "q v (fused attn qkv layer)": ("qkv_proj", "q_proj", "v_proj", "query_key_value"),
    "q v o mlp": ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "q v o(mlp?)": ("q_proj", "v_proj", "o_proj"),
    "q v": ("q_proj", "v_proj"),
    "q k v o mlp lm_head": None,
    "q k v o": ("q_proj", "k_proj", "v_proj", "o_proj"),
}


Kind = Literal["allocated", "reserved", "card"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured run. `measured_gib` is what its allocator had `allocated` or `reserved` at the peak, or what the whole `card` showed; None where the
    run went out of memory. `gpu` is None where the source does not name a kind known here. `expandable` says that the allocator grows its segments."""

    id: str
    stack: str
    method: str
    config: Mapping[str, Any]
    facts: ModelFacts
    workload: Workload
    gpu: Gpu | None
    gpus: int
    half: str
    kind: Kind
    expandable: bool
    measured_gib: float | None

    @property
    def family(self) -> str:
        """The architecture."""
        return self.facts.model_type

    @property
    def ran_out(self) -> bool:
        """The run went out of memory."""
        return self.measured_gib is None


def read_rows(file: Path = MEASURED) -> tuple[list[Row], int]:
    """Every row that can be mapped, and how many cannot: without a batch or an exact length, of a model that is not known or a setting that is not told, or with
    less memory than its weights and layers' inputs take."""
    rows, left_out = [], 0
    with file.open(encoding="utf-8", newline="") as stream:
        for record in csv.DictReader(stream):
            row = _row(record)
            if row is None or _contradicts_itself(row):
                left_out += 1
            else:
                rows.append(row)
    return rows, left_out


def _row(row: dict[str, str]) -> Row | None:
    ran_out = row["oom"] == "1"
    if not row["micro_batch"] or (not row["mem_gib"] and not ran_out) or row["seq_exact"] == "0" or row["task"] == "grpo":
        return None
    if "unknown" in row["grad_ckpt"] or "?" in row["grad_ckpt"]:
        return None
    config = known_config(row["model_id"])
    if config is None:
        return None
    stack = stack_of(row)
    kind: Kind = "reserved"
    # torchtune's table reports what its ladder in the same file calls active.
    if row["mem_alloc_gib"] or row["mem_kind"] in ("torch_peak_alloc", "torch_peak_active", "torch_peak_active_or_reserved"):
        kind = "allocated"
    elif "smi" in row["mem_kind"]:
        kind = "card"
    return Row(
        id=row["id"],
        stack=row["framework"].split()[0].rstrip(","),
        method=row["method"],
        config=config,
        facts=stack.facts(facts_from_config(config), quantized=row["method"] == "qlora"),
        workload=_workload(row, stack),
        gpu=find_gpu(row["gpu"]),
        gpus=int(row["n_gpus"]),
        half="fp16" if row["weight_dtype"].startswith("fp16") else "bf16",
        kind=kind,
        expandable=stack.expandable,
        measured_gib=None if ran_out else float(row["mem_alloc_gib"] or row["mem_gib"]),
    )


def _contradicts_itself(row: Row) -> bool:
    """Whether the sharded weights and the layers' inputs alone are more than was measured, so that the row's batch or length is not what ran."""
    workload, facts = row.workload, row.facts
    if row.measured_gib is None or workload.checkpointing != "full" or workload.sharding.offload or workload.quantization != "none":
        return False
    weights = facts.parameters * 2.0 / (row.gpus if workload.sharding.kind == "fsdp" else 1)
    return weights + facts.layers * facts.hidden * 2.0 * workload.tokens > row.measured_gib * 2**30


def _workload(row: dict[str, str], stack: Stack) -> Workload:
    """The workload a row's source describes."""
    # peft's preparation for k-bit training; below it logits are fp32 from the start.
    kbit = "upcast to fp32" in row["weight_dtype"] and row["quant"].startswith("nf4")
    chunked = "chunk" in row["kernels"].lower() or stack.chunks_unasked
    sequence = int(float(row["seq_len"]))
    kind = _sharding_kind(row)
    adapter = None
    if row["method"] in ("lora", "qlora"):
        adapter = Adapter(
            rank=int(row["lora_r"] or 8),
            targets=TARGETS.get(row["lora_targets"]),
            dropout=stack.dropout,
            parameter_bytes=stack.adapter_bytes,
        )
    return Workload(
        adapter=adapter,
        quantization=_quantization(row),
        residual_bytes=4 if kbit else 2,
        autocast=stack.autocast,
        optimizer=_optimizer(row),
        micro_batch=int(row["micro_batch"]),
        sequence=sequence,
        accumulation=1,
        checkpointing=_checkpointing(row),
        attention="eager" if row["attn"].startswith("eager") else "flash",
        masked=False,
        holds_logits=stack.holds_logits,
        loss=stack.chunked if chunked else "fp32" if kbit else stack.loss,
        loss_parts=-(-sequence // stack.chunk_tokens) if stack.chunk_tokens else 8,
        compiled="torch.compile" in row["kernels"] or stack.compiled,
        repeats_keys=stack.repeats_keys,
        early_quantization=stack.early_quantization,
        steps_in_backward=_steps_in_backward(row),
        context_parallel=_degree(row, "cp"),
        tensor_parallel=_degree(row, "tp"),
        sharding=Sharding(
            kind=kind,
            # Cards that share rows shard the state among them too; those that share layers hold different parts of it.
            gpus=int(row["n_gpus"]) // _degree(row, "tp") if kind != "none" else 1,
            offload=row["offload"] not in ("none", "") or "cpu_offload=True" in row["notes"],
            reshard=not stack.mixed_units,
            mixed_units=stack.mixed_units,
            ends_apart=stack.ends_apart,
            version=1 if "fsdp1" in row["parallelism"] else 2,
            in_trainer=stack.in_trainer,
        ),
    )


def _degree(row: dict[str, str], name: str) -> int:
    """Cards that share rows (`cp`) or layers (`tp`)."""
    found = re.search(rf"\b{name}=(\d+)", row["parallelism"])
    return int(found[1]) if found else 1


def _sharding_kind(row: dict[str, str]) -> ShardingKind:
    if row["parallelism"].startswith("fsdp"):
        return "fsdp"
    return "ddp" if row["parallelism"].startswith("ddp") else "none"


def _quantization(row: dict[str, str]) -> Quantization:
    if row["quant"].startswith("nf4-dq"):
        return "nf4-dq"
    return "nf4" if row["quant"].startswith("nf4") else "none"


def _checkpointing(row: dict[str, str]) -> Checkpointing:
    if "offload" in row["grad_ckpt"]:
        return "offload"
    if row["grad_ckpt"].startswith(("full", "unsloth")):
        return "full"
    if row["grad_ckpt"].startswith("selective"):
        return "alternate" if row["framework"].startswith("torchtitan") else "selective"
    return "none"


def _optimizer(row: dict[str, str]) -> str:
    if row["optimizer"].startswith("Paged"):
        return "paged_adamw_8bit" if "8bit" in row["optimizer"] else "paged_adamw"
    if "8bit" in row["optimizer"]:
        return "bitsandbytes' own adamw_8bit" if row["framework"].startswith("torchtune") else "adamw_bnb_8bit"
    return "adamw_torch_fused" if "fused" in row["optimizer"] else "adamw_torch"


def _steps_in_backward(row: dict[str, str]) -> bool:
    if "in_bwd" in row["optimizer"] or ("optimizer_in_bwd" in row["notes"] and "no optimizer_in_bwd" not in row["notes"]):
        return True
    # torchtune's configuration for a paged optimizer on one GPU sets it (recipes/configs/llama2/7B_full_low_memory.yaml).
    return row["framework"] == "torchtune" and row["n_gpus"] == "1" and row["optimizer"].startswith("Paged") and "?" not in row["optimizer"]
