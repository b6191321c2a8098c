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
from launcher.estimate.facts import Block, Matrix, ModelFacts
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


LITGPT_CHUNK = 128
"""Tokens of a row in one chunk of lit-gpt's head (finetune/lora.py)."""

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


def read_rows() -> tuple[list[Row], int]:
    """Every row that can be mapped, and how many cannot: without a batch or an exact length, of a model or a setting that is not modelled or not told, or with
    less memory than its weights and layers' inputs take."""
    rows, left_out = [], 0
    with (DATA / "memory_measured.csv").open(encoding="utf-8", newline="") as stream:
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
    if "tp=" in row["parallelism"] or "cp=" in row["parallelism"]:
        return None
    config = known_config(row["model_id"])
    if config is None:
        return None
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
        facts=_facts(row, config),
        workload=_workload(row),
        gpu=find_gpu(row["gpu"]),
        gpus=int(row["n_gpus"]),
        half="fp16" if row["weight_dtype"].startswith("fp16") else "bf16",
        kind=kind,
        expandable=row["framework"].startswith("torchtitan"),  # its run script sets expandable_segments
        measured_gib=None if ran_out else float(row["mem_alloc_gib"] or row["mem_gib"]),
    )


def _contradicts_itself(row: Row) -> bool:
    """Whether the sharded weights and the layers' inputs alone are more than was measured, so that the row's batch or length is not what ran."""
    workload, facts = row.workload, row.facts
    if row.measured_gib is None or workload.checkpointing != "full" or workload.sharding.offload or workload.quantization != "none":
        return False
    weights = facts.parameters * 2.0 / (row.gpus if workload.sharding.kind == "fsdp" else 1)
    return weights + facts.layers * facts.hidden * 2.0 * workload.tokens > row.measured_gib * 2**30


def _facts(row: dict[str, str], config: Mapping[str, Any]) -> ModelFacts:
    facts = facts_from_config(config)
    if not row["framework"].startswith("lit-gpt"):
        return facts
    return replace(facts, blocks=tuple((count, _litgpt(block)) for count, block in facts.blocks))


def _litgpt(block: Block) -> Block:
    """A layer as lit-gpt computes it (litgpt 0.3, lora.py and model.py): GELU is one kernel whatever its approximation; one matrix makes queries, keys and
    values; the adapters' product for queries and values is written into zeros by index, which keeps it."""
    apart = tuple(matrix for matrix in block.matrices if matrix.name not in ("q_proj", "k_proj", "v_proj"))
    fused = Matrix(
        name="qkv_proj", d_in=apart[0].d_out, d_out=block.query_width + block.kv_width + block.kv_heads * block.value_dim, role="attention"
    )
    return replace(
        block,
        matrices=apart if len(apart) == len(block.matrices) else (fused, *apart),
        activation_copies=1,
        fused_heads=True,
        other_saved=block.query_width + block.kv_heads * block.value_dim,
    )


def _workload(row: dict[str, str]) -> Workload:
    """The workload a row's source describes."""
    framework = row["framework"]
    # fsdp_qlora's precision "bf16" is bf16 throughout, adapters too, without autocast (its train.py).
    hf = not framework.startswith("fsdp_qlora") and ("HF" in framework or "LLaMA" in framework)
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
        # The head and the loss go through chunks of 128 tokens, all of which wait for the backward pass; Fabric makes the model's outputs fp32
        # (lightning.fabric, plugins/precision/half.py, convert_output).
        loss = "fp32-parts"
    elif framework.startswith("fsdp_qlora"):
        # transformers before 4.46 casts the logits and then copies them shifted by a token; the loop keeps the outputs.
        loss = "fp32"
    elif framework == "torchtune":
        # Chunked, the 16-bit logits of all chunks exist before the first loss, whose function is compiled. The unchunked loss drops the model's outputs, and
        # what compiling returns of it too (torchtune 0.3, training/_compile.py and recipes).
        chunked = "chunk" in row["kernels"].lower() or row["id"].startswith("tt-r")
        loss = "parts" if chunked else "dropped"
    elif "chunk" in row["kernels"].lower():
        loss = "chunked"
    elif framework.startswith("torchtitan") and "_202506_" in row["source"]:
        # Since 2025 it compiles its loss.
        loss = "compiled"
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
        holds_logits=framework.startswith(("HF transformers", "fsdp_qlora")),
        loss=loss,
        loss_parts=-(-int(float(row["seq_len"])) // LITGPT_CHUNK) if loss == "fp32-parts" else 8,
        # xtuner compiles its layers unless told not to (model/dense/dense.py, DENSE_COMPILE_CFG).
        compiled="torch.compile" in row["kernels"] or framework.startswith("xtuner"),
        # torchtune's layers copy keys and values to every head (modules/attention.py).
        repeats_keys=framework == "torchtune",
        # lit-gpt's row names bitsandbytes 0.41; the others of before May 2024 had 0.43 at most.
        early_quantization=framework.startswith(("lit-gpt", "fsdp_qlora", "LLaMA-Factory")) and "unsloth" not in row["kernels"],
        steps_in_backward=_steps_in_backward(row),
        sharding=Sharding(
            kind=kind,
            gpus=int(row["n_gpus"]) if kind != "none" else 1,
            offload=row["offload"] not in ("none", "") or "cpu_offload=True" in row["notes"],
            # lit-gpt leaves FSDP 1 to shard frozen and trained parameters in one unit, where torch 2.1 frees nothing it gathered before the backward pass
            # has ended: its eleven peaks are one whole set of weights, and four layers, above the shard.
            reshard=not framework.startswith("lit-gpt"),
            mixed_units=framework.startswith("lit-gpt"),
            # torchtune's configurations for full fine-tuning name both ends (custom_sharded_layers); xtuner shards them apart (model/dense/dense.py).
            ends_apart=framework.startswith("xtuner") or (framework == "torchtune" and row["method"] == "full" and "fsdp2" in row["parallelism"]),
            version=1 if "fsdp1" in row["parallelism"] else 2,
            in_trainer=not framework.startswith(("torchtune", "fsdp_qlora", "lit-gpt")),
        ),
    )


def _steps_in_backward(row: dict[str, str]) -> bool:
    if "in_bwd" in row["optimizer"] or ("optimizer_in_bwd" in row["notes"] and "no optimizer_in_bwd" not in row["notes"]):
        return True
    # torchtune's configuration for a paged optimizer on one GPU sets it (recipes/configs/llama2/7B_full_low_memory.yaml).
    return row["framework"] == "torchtune" and row["n_gpus"] == "1" and row["optimizer"].startswith("Paged") and "?" not in row["optimizer"]
