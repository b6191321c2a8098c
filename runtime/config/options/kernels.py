"""Options of fused kernels and memory-saving losses."""

from typing import Any, Literal

from pydantic import Field


class KernelOptions:
    """Faster or smaller code for parts of the model."""

    chunked_cross_entropy: bool | None = Field(
        None, description="Compute the loss in chunks, so that the logits of all tokens never exist at once."
    )
    chunked_cross_entropy_num_chunks: int | None = Field(None, ge=1, description="Number of those chunks.")
    cut_cross_entropy: bool | None = Field(None, description="Cut cross entropy: the loss without storing logits at all.")
    cut_cross_entropy_accum_c_fp32: bool | None = Field(None, description="Cut cross entropy: add up the head's gradient in 32 bit.")
    cut_cross_entropy_c_grad_chunk_size: int | Literal["auto"] | None = Field(
        None, description="Cut cross entropy: rows of the head whose gradient is added up at a time."
    )
    liger_cross_entropy: bool | None = Field(None, description="Liger's fused cross entropy.")
    liger_fused_linear_cross_entropy: bool | None = Field(
        None, description="Liger's head and cross entropy in one, which never stores all logits."
    )
    liger_rms_norm: bool | None = Field(None, description="Liger's fused RMS normalization.")
    liger_rms_norm_gated: bool | None = Field(None, description="Liger's fused gated RMS normalization.")
    liger_layer_norm: bool | None = Field(None, description="Liger's fused layer normalization.")
    liger_rope: bool | None = Field(None, description="Liger's fused rotary positions.")
    liger_glu_activation: bool | None = Field(None, description="Liger's fused gated activation of the MLP.")
    liger_kernel_impl: Literal["cutile", "cutedsl"] | None = Field(None, description="Which implementation of Liger's kernels is used.")
    liger_use_token_scaling: bool | None = Field(
        None, description="Weight each token's loss by the model's probability for it, inside Liger's loss."
    )
    lora_mlp_kernel: bool | None = Field(None, description="Fused LoRA for the MLP: faster, less memory. Needs `lora_dropout: 0`.")
    lora_qkv_kernel: bool | None = Field(None, description="Fused LoRA for the query, key and value products. Needs `lora_dropout: 0`.")
    lora_o_kernel: bool | None = Field(None, description="Fused LoRA for the attention's output product. Needs `lora_dropout: 0`.")
    lora_embedding_kernel: bool | None = Field(None, description="Fused LoRA for embedding layers.")
    tiled_mlp: bool | None = Field(None, description="Work through the MLP in pieces along the sequence, for very long contexts.")
    tiled_mlp_num_shards: int | None = Field(
        None, ge=1, description="Number of those pieces. Default: from the length and the model's width."
    )
    tiled_mlp_use_original_mlp: bool | None = Field(
        True, description="Use the model's own MLP in each piece; false: a generic Llama-like one."
    )
    llama4_linearized_experts: bool | None = Field(
        None, description="Experts of Llama 4 as plain linear layers, which can be quantized and adapted."
    )
    unsloth_cross_entropy_loss: bool | None = Field(None, description="Unsloth's cross entropy.")
    unsloth_lora_mlp: bool | None = Field(None, description="Unsloth's fused LoRA for the MLP.")
    unsloth_lora_qkv: bool | None = Field(None, description="Unsloth's fused LoRA for query, key and value.")
    unsloth_lora_o: bool | None = Field(None, description="Unsloth's fused LoRA for the attention's output.")
    unsloth_rms_norm: bool | None = Field(None, description="Unsloth's RMS normalization.")
    unsloth_rope: bool | None = Field(None, description="Unsloth's rotary positions.")
    use_scattermoe: bool | None = Field(None, description="Experts computed with ScatterMoE's kernels.")
    use_sonicmoe: bool | None = Field(None, description="Experts computed with SonicMoE's kernels.")
    use_dsv4_kernels: bool | None = Field(None, description="Kernels for DeepSeek V4's layers.")
    use_glm_dsa_kernels: bool | None = Field(None, description="Kernels for the sparse attention of GLM models.")
    expert_backend: str | None = Field(None, description="Code that computes expert layers.")
    nonexpert_quantization: str | None = Field(None, description="Quantization of everything that is no expert.")
    moe_bnb_fast: bool | None = Field(None, description="A faster path for experts held in 4 bit.")
    moe_dequant_chunk_size: int | None = Field(None, ge=1, description="Experts expanded from 4 bit at a time.")
    moe_grouped_backend: str | None = Field(None, description="Code for the grouped products of experts.")
    dsv4_bf16_all: bool | None = Field(None, description="DeepSeek V4: everything in bfloat16.")
    dsv4_fp4_grouped_mode: str | None = Field(None, description="DeepSeek V4: how its 4-bit experts are multiplied.")
    dsv4_fp8_lora_kernel: bool | None = Field(None, description="DeepSeek V4: fused LoRA on 8-bit weights.")
    dsv4_fp8_nonexpert_mode: str | None = Field(None, description="DeepSeek V4: how its 8-bit parts are multiplied.")
    dsv4_shared_mlp_lora_kernel: bool | None = Field(None, description="DeepSeek V4: fused LoRA on the shared expert.")
    gemma4_fp8_nonexpert: bool | None = Field(None, description="Gemma 4: everything but experts in 8-bit floats.")
    gemma4_nf4_nonexpert: bool | None = Field(None, description="Gemma 4: everything but experts in 4 bit.")
    autotune_cache_path: str | None = Field(None, description="File that keeps the kernels' tuning.")
    autotune_neighborhood: int | None = Field(None, ge=0, description="How far from known settings the tuning searches.")
    autotune_profiles: list[dict[str, Any]] | None = Field(None, description="Shapes the kernels are tuned for.")
