"""Rules about fused kernels: what they replace, and what they cannot see through."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding, conflict
from runtime.config.given import given
from runtime.config.schema import TrainingConfig

LORA_KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel")
_UNSLOTH = ("unsloth_lora_mlp", "unsloth_lora_qkv", "unsloth_lora_o")


def fused_lora_reads_weights(config: TrainingConfig) -> Iterator[Finding]:
    """Fused LoRA multiplies with the base itself: it must know how the base is stored and how the adapter is added."""
    for name in (*LORA_KERNELS, *_UNSLOTH):
        if not given(config, name):
            continue
        if config.load_in_8bit:
            yield conflict(
                name, f"'{name}' cannot read a base in 8 bit", "Write `load_in_4bit: true` and `adapter: qlora`.", "load_in_8bit"
            )
        if config.peft_use_dora:
            yield conflict(name, f"'{name}' does not go with `peft_use_dora: true`", "Remove one of them.", "peft_use_dora")
        if config.trust_remote_code and name in LORA_KERNELS:
            message = f"'{name}' replaces layers it knows, and `trust_remote_code: true` loads a model with its own"
            yield conflict(name, message, "Remove the kernel.", "trust_remote_code")


def fused_lora_chosen_once(config: TrainingConfig) -> Iterator[Finding]:
    """One package fuses LoRA."""
    ours = [name for name in LORA_KERNELS if given(config, name)]
    theirs = [name for name in _UNSLOTH if given(config, name)]
    if ours and theirs:
        yield conflict(theirs[0], f"'{ours[0]}' and '{theirs[0]}' both fuse LoRA", "Keep the lora_*_kernel options.", ours[0])


def fused_products_are_whole(config: TrainingConfig) -> Iterator[Finding]:
    """An adapter finds no `q_proj` in a layer that was joined with others."""
    for name in ("flash_attn_fuse_mlp", "flash_attn_fuse_qkv"):
        if given(config, name) and config.adapter is not None:
            message = f"'{name}' joins the layers that `adapter: {config.adapter}` would change"
            yield conflict(name, message, "Remove it.", "adapter")


def softmax_scaled_where_possible(config: TrainingConfig) -> Iterator[Finding]:
    """SSMax changes the scores before the softmax, which only flex attention lets it."""
    if config.scaling_softmax and not (config.flex_attention or config.attn_implementation == "flex_attention"):
        message = "'scaling_softmax' needs `attn_implementation: flex_attention`, the only one that lets scores be changed"
        yield Finding(
            code="missing", path=("attn_implementation",), involves=("scaling_softmax", "flex_attention"), message=message, fix="Add it."
        )


def compiled_for_fp8(config: TrainingConfig) -> Iterator[Finding]:
    """Without a compiler, converting to 8 bit costs what the products save."""
    if config.fp8 and not config.torch_compile:
        message = "`fp8: true` without torch_compile is often slower than bf16: the conversions are not fused"
        yield conflict("fp8", message, "Add `torch_compile: true`.", "torch_compile", warning=True)


def experts_quantized_in_place(config: TrainingConfig) -> Iterator[Finding]:
    """Quantized experts are bare parameters of a quantized base under an adapter."""
    if not config.quantize_moe_experts:
        return
    if config.adapter not in ("lora", "qlora"):
        yield _missing("adapter", "'quantize_moe_experts' needs `adapter: qlora` or `lora`", "Add one, or remove it.")
    elif not (config.load_in_4bit or config.load_in_8bit):
        yield _missing("load_in_4bit", "'quantize_moe_experts' needs a base in 4 or 8 bit", "Add `load_in_4bit: true`.")
    if config.lora_target_linear:
        message = "'quantize_moe_experts' leaves experts as bare parameters, which 'lora_target_linear' does not see"
        yield conflict(
            "lora_target_linear", message, "List `lora_target_modules`, and experts under `lora_target_parameters`.", "quantize_moe_experts"
        )


def whole_half_trains(config: TrainingConfig) -> Iterator[Finding]:
    """Small updates vanish in float16 weights."""
    if config.float16 and config.adapter is None:
        message = (
            "`float16: true` trains float16 weights themselves: updates below a thousandth of a weight are lost, large gradients overflow"
        )
        yield conflict("float16", message, "Write `fp16: true`, which keeps 32-bit weights, or `bf16: auto`.", "adapter", warning=True)


def _missing(name: str, message: str, fix: str) -> Finding:
    return Finding(code="missing", path=(name,), involves=("quantize_moe_experts",), message=message, fix=fix)


RULES = (
    fused_lora_reads_weights,
    fused_lora_chosen_once,
    fused_products_are_whole,
    softmax_scaled_where_possible,
    compiled_for_fp8,
    experts_quantized_in_place,
    whole_half_trains,
)
