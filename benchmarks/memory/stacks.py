"""What the stacks of the measured rows do otherwise than the runtime, each as physical terms of the estimate, with the source it was read in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from launcher.estimate.facts import Block, Matrix, ModelFacts
from launcher.estimate.workload import Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """How a training stack computes a step. `loss` is of a row that names no kernel for it, `chunked` of one that does."""

    adapter_bytes: int = 2
    dropout: float = 0.0
    autocast: bool = False
    loss: Loss = "upcast"
    chunked: Loss = "chunked"
    chunk_tokens: int | None = None
    """Tokens of a row in one chunk of the loss; None for eight chunks."""
    chunks_unasked: bool = False
    holds_logits: bool = False
    compiled: bool = False
    repeats_keys: bool = False
    early_quantization: bool = False
    mixed_units: bool = False
    ends_apart: bool = False
    in_trainer: bool = False
    expandable: bool = False
    layer: Callable[[Block, bool], Block] | None = None

    def facts(self, facts: ModelFacts, *, quantized: bool) -> ModelFacts:
        """The model with layers as this stack computes them, over a quantized base or another."""
        if self.layer is None:
            return facts
        return replace(facts, blocks=tuple((count, self.layer(block, quantized)) for count, block in facts.blocks))


def stack_of(row: dict[str, str]) -> Stack:
    """The stack of a row of the measurements; one that is not known here counts as transformers' Trainer."""
    framework = row["framework"]
    stack = next((stack for name, stack in STACKS.items() if framework.startswith(name)), STACKS["HF"])
    if framework.startswith("torchtune"):
        # The table of September 2024 was made with configurations whose loss is chunked; those for full fine-tuning on several GPUs name both ends of the model
        # to be sharded apart (recipes/configs/llama3_1, custom_sharded_layers).
        sharded_full = row["method"] == "full" and "fsdp2" in row["parallelism"]
        return replace(stack, chunks_unasked=row["id"].startswith("tt-r"), ends_apart=sharded_full)
    if framework.startswith("torchtitan") and "_202506_" in row["source"]:
        return replace(stack, loss="compiled")  # since 2025 it compiles its loss
    if "unsloth" in row["kernels"]:
        # Of Unsloth's kernels its loss is counted; which others LLaMA-Factory used then is not told.
        return replace(stack, loss="in-place", early_quantization=False)
    return stack


def _litgpt_layer(block: Block, quantized: bool) -> Block:
    """GELU is one kernel whatever its approximation; one matrix makes queries, keys and values; the adapters' product for queries and values is written into
    zeros by index, which keeps it (litgpt 0.3, lora.py and model.py; the tensors that its layers save agree to the byte). Queries are laid out by head, and so
    is attention's result (torch 2.1), which is copied for the matrix after it; a quantized one keeps that copy."""
    value_width = block.kv_heads * block.value_dim
    apart = tuple(matrix for matrix in block.matrices if matrix.name not in ("q_proj", "k_proj", "v_proj"))
    width = next(matrix.d_in for matrix in block.matrices)
    fused = Matrix(name="qkv_proj", d_in=width, d_out=block.query_width + block.kv_width + value_width, role="attention")
    return replace(
        block,
        matrices=apart if len(apart) == len(block.matrices) else (fused, *apart),
        activation_copies=1,
        fused_heads=True,
        other_saved=block.query_width + value_width + (block.heads * block.value_dim if quantized else 0),
    )


STACKS = {
    "lit-gpt": Stack(
        dropout=0.05,
        # Head and loss go through chunks that all wait for the backward pass; Fabric makes the model's outputs fp32 (lightning.fabric,
        # plugins/precision/half.py, convert_output).
        loss="fp32-parts",
        chunked="fp32-parts",
        chunk_tokens=128,
        early_quantization=True,  # bitsandbytes 0.41
        # It leaves FSDP 1 to shard frozen and trained parameters in one unit, where torch 2.1 frees nothing it gathered before the backward pass has ended:
        # its peaks are one whole set of weights, and four layers, above the shard.
        mixed_units=True,
        layer=_litgpt_layer,
    ),
    "torchtune": Stack(
        # Of a chunked loss the 16-bit logits of all chunks exist before the first one's, which is compiled. An unchunked loss drops the model's outputs, and what
        # compiling returns of it too (torchtune 0.3, training/_compile.py and recipes/full_finetune_single_device.py).
        loss="dropped",
        chunked="parts",
        repeats_keys=True,  # modules/attention.py
    ),
    "fsdp_qlora": Stack(
        # Its precision "bf16" is bf16 throughout, adapters too, without autocast. transformers before 4.46 casts the logits and copies them shifted by a token;
        # the loop keeps the outputs (train.py).
        loss="fp32",
        holds_logits=True,
        early_quantization=True,  # bitsandbytes 0.43
    ),
    "torchtitan": Stack(autocast=True, expandable=True),  # its run script sets expandable_segments
    # Layers are compiled unless told otherwise; embedding and head are sharded apart (xtuner/v1/model/dense/dense.py).
    "xtuner": Stack(autocast=True, compiled=True, ends_apart=True),
    "LLaMA-Factory": Stack(adapter_bytes=4, autocast=True, in_trainer=True, early_quantization=True),  # bitsandbytes 0.43 at most
    "HF transformers": Stack(adapter_bytes=4, autocast=True, in_trainer=True, holds_logits=True),
    "HF": Stack(adapter_bytes=4, autocast=True, in_trainer=True),
}
