"""Rows of public measurement series, each as a model, a workload and what it took.

`benchmarks/data/memory_measured.csv` holds the rows with their sources. A row is mapped to a workload by what its source says about the stack.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from launcher.estimate.architectures import facts_from_config
from launcher.estimate.facts import ModelFacts
from launcher.estimate.gpus import Gpu, find_gpu
from launcher.estimate.known_models import known_config
from launcher.estimate.workload import Adapter, Attention, Checkpointing, Loss, Quantization, Sharding, Workload

DATA = Path(__file__).resolve().parent.parent / "data"

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
    run went out of memory. `gpu` is None where the source does not name a kind known here."""

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
    measured_gib: float | None

    @property
    def family(self) -> str:
        """The architecture."""
        return self.facts.model_type

    @property
    def ran_out(self) -> bool:
        """The run went out of memory."""
        return self.measured_gib is None


def read_rows() -> tuple[list[Row], int]:
    """Every row that can be mapped, and how many cannot: without a batch or an exact length, of a model or a setting that is not modelled."""
    rows, left_out = [], 0
    with (DATA / "memory_measured.csv").open(encoding="utf-8", newline="") as stream:
        for record in csv.DictReader(stream):
            row = _row(record)
            if row is None:
                left_out += 1
            else:
                rows.append(row)
    return rows, left_out


def _row(row: dict[str, str]) -> Row | None:
    ran_out = row["oom"] == "1"
    if not row["micro_batch"] or (not row["mem_gib"] and not ran_out) or row["seq_exact"] == "0" or row["task"] == "grpo":
        return None
    if "tp=" in row["parallelism"] or "cp=" in row["parallelism"]:
        return None
    config = known_config(row["model_id"])
    if config is None:
        return None
    kind: Kind = "reserved"
    if row["mem_kind"] in ("torch_peak_alloc", "torch_peak_active"):
        kind = "allocated"
    elif "smi" in row["mem_kind"]:
        kind = "card"
    return Row(
        id=row["id"],
        stack=row["framework"].split()[0].rstrip(","),
        method=row["method"],
        config=config,
        facts=_facts(row, config),
        workload=_workload(row),
        gpu=find_gpu(row["gpu"]),
        gpus=int(row["n_gpus"]),
        half="fp16" if row["weight_dtype"].startswith("fp16") else "bf16",
        kind=kind,
        measured_gib=None if ran_out else float(row["mem_gib"]),
    )


def _facts(row: dict[str, str], config: Mapping[str, Any]) -> ModelFacts:
    facts = facts_from_config(config)
    if not row["framework"].startswith("lit-gpt"):
        return facts
    # lit-gpt's GELU is one fused kernel whatever its approximation; transformers writes some of them out.
    return replace(facts, blocks=tuple((count, replace(block, activation_copies=1)) for count, block in facts.blocks))


def _workload(row: dict[str, str]) -> Workload:
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
        checkpointing = "alternate" if framework.startswith("torchtitan") else "selective"
    attention: Attention = "flash"
    if row["attn"].startswith("eager"):
        attention = "eager"
    kind: Literal["none", "ddp", "fsdp"] = "none"
    if row["parallelism"].startswith("fsdp"):
        kind = "fsdp"
    elif row["parallelism"].startswith("ddp"):
        kind = "ddp"
    loss: Loss = "upcast"
    if framework.startswith("lit-gpt"):
        # The head and the loss go through chunks, all of which wait for the backward pass: whole 16-bit logits and their log-softmax.
        loss = "plain"
    elif "chunk" in row["kernels"].lower() or row["id"].startswith("tt-r"):
        # torchtune's chunks hold all 16-bit logits and cast one chunk at a time.
        loss = "plain" if framework == "torchtune" and adapter is None else "chunked"
    elif framework.startswith("torchtitan") and "_202506_" in row["source"]:
        # Since 2025 it compiles its loss: one kernel from 16-bit logits to the loss, and one back to their 16-bit gradient.
        loss = "plain"
    elif "unsloth" in row["kernels"]:
        loss = "in-place"
    elif kbit and quant != "none":
        loss = "fp32"
    optimizer = "adamw_torch"
    if row["optimizer"].startswith("Paged"):
        optimizer = "paged_adamw_8bit" if "8bit" in row["optimizer"] else "paged_adamw"
    elif "8bit" in row["optimizer"]:
        optimizer = "bitsandbytes' own adamw_8bit" if framework.startswith("torchtune") else "adamw_bnb_8bit"
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
            offload=row["offload"] not in ("none", "") or "cpu_offload=True" in row["notes"],
            # lit-gpt leaves FSDP 1 to shard frozen and trained parameters in one unit, where torch 2.1 frees nothing it gathered before the backward pass
            # has ended: its eleven peaks are one whole set of weights above the shard.
            reshard=not framework.startswith("lit-gpt"),
            # What FSDP 1 leaves behind beside an adapter was seen in transformers' Trainer alone.
            version=1 if "fsdp1" in row["parallelism"] and not framework.startswith("torchtune") else 2,
        ),
    )
