"""Options of fused kernels and memory-saving losses."""

from typing import Any, Literal

from pydantic import Field


class KernelOptions:
    """Faster or smaller code for parts of the model."""

    chunked_cross_entropy: bool | None = Field(
        None,
        description="Compute the loss in chunks of tokens, so that the logits of all tokens never exist at once; the head works a second time in the backward pass. Same loss and gradient, on any device, with any head and with `use_dft`, `use_eaft` and distillation.",
    )
    chunked_cross_entropy_num_chunks: int | None = Field(
        None,
        ge=1,
        description="Number of those chunks: the logits take that part of their memory. Default: 8. More than needed makes small, slow products.",
    )
    cut_cross_entropy: bool | None = Field(
        None,
        description="Cut cross entropy: the loss without storing logits at all, in the Triton kernels of the package cut-cross-entropy. Needs a GPU and bf16 or fp16; entries of the gradient below the number format's precision are left out. Not together with another loss.",
    )
    cut_cross_entropy_accum_c_fp32: bool | None = Field(
        None,
        description="Cut cross entropy: add up the head's gradient in 32 bit, more exact for a 32-bit copy of it. The package's release 25.1.1 cannot.",
    )
    cut_cross_entropy_c_grad_chunk_size: int | Literal["auto"] | None = Field(
        None,
        description="Cut cross entropy: rows of the head whose 32-bit gradient is held at a time, a multiple of 128; `auto` takes what fits in 1 GiB. Needs `cut_cross_entropy_accum_c_fp32`. Default: all rows.",
    )
    liger_cross_entropy: bool | None = Field(
        None,
        description="Liger's cross entropy in one Triton kernel, for every cross entropy of the process. The logits of all tokens still exist: `liger_fused_linear_cross_entropy` does without them, and excludes this. Default: off. Needs a GPU.",
    )
    liger_fused_linear_cross_entropy: bool | None = Field(
        None,
        description="Liger's head and cross entropy in one kernel, which never stores the logits of all tokens: with a large vocabulary the largest saving of memory there is. Only in training; evaluation keeps the logits. Excludes the other losses. Default: off. Needs a GPU.",
    )
    liger_rms_norm: bool | None = Field(None, description="Liger's RMS normalization in one kernel. Default: off. Needs a GPU.")
    liger_rms_norm_gated: bool | None = Field(
        None,
        description="Liger's gated RMS normalization, of models with linear attention. Refused when the run starts where the installed liger_kernel has none for the architecture. Default: off. Needs a GPU.",
    )
    liger_layer_norm: bool | None = Field(
        None,
        description="Liger's layer normalization in one kernel. Refused when the run starts for architectures without any. Default: off. Needs a GPU.",
    )
    liger_rope: bool | None = Field(None, description="Liger's rotary positions in one kernel. Default: off. Needs a GPU.")
    liger_glu_activation: bool | None = Field(
        None,
        description="Liger's gated activation of the MLP, SwiGLU or GEGLU as the architecture has it, in one kernel that recomputes instead of storing. Default: off. Needs a GPU.",
    )
    liger_kernel_impl: Literal["cutile", "cutedsl"] | None = Field(
        None,
        description="Take Liger's kernels in cuTile or CuTe DSL where the package has them, instead of Triton's. Needs the package's extra of that name. Default: Triton.",
    )
    liger_use_token_scaling: bool | None = Field(
        None,
        description="Weight each token's loss by the model's own probability for it, which counts as a constant, inside Liger's fused loss (`liger_fused_linear_cross_entropy`): what `use_dft` does without Liger. Default: off.",
    )
    lora_mlp_kernel: bool | None = Field(None, description="Fused LoRA for the MLP: faster, less memory. Needs `lora_dropout: 0`.")
    lora_qkv_kernel: bool | None = Field(None, description="Fused LoRA for the query, key and value products. Needs `lora_dropout: 0`.")
    lora_o_kernel: bool | None = Field(None, description="Fused LoRA for the attention's output product. Needs `lora_dropout: 0`.")
    lora_embedding_kernel: bool | None = Field(None, description="Fused LoRA for embedding layers.")
    tiled_mlp: bool | None = Field(
        None,
        description="Work through the MLP of each layer in pieces along the sequence, computing each piece again in the backward pass: the memory of its widened activations no longer grows with the context. For contexts of tens of thousands of tokens; costs one more forward pass of the MLPs. Routed experts are left as they are.",
    )
    tiled_mlp_num_shards: int | None = Field(
        None, ge=1, description="Number of those pieces. Default: the length divided by the model's width, rounded up."
    )
    tiled_mlp_use_original_mlp: bool | None = Field(
        True, description="Use the model's own MLP in each piece, as is always done here; false, a generic Llama-like one, is refused."
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
