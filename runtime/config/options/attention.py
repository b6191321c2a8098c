"""Options of the attention implementation."""

from typing import Any

from pydantic import Field


class AttentionOptions:
    """Which attention code runs."""

    attn_implementation: str | None = Field(
        None,
        description="Attention code, by transformers' name: `eager`, `sdpa`, `flash_attention_2`, `flex_attention`, or a kernel from the Hub. Default: the model's best available.",
    )
    flash_attention: bool | None = Field(
        None,
        description="Short for `attn_implementation: flash_attention_2`: exact, memory linear in the length (compute capability 8.0 and up).",
    )
    sdp_attention: bool | None = Field(None, description="Short for `attn_implementation: sdpa`, PyTorch's own fused attention.")
    flex_attention: bool | None = Field(
        None, description="Short for `attn_implementation: flex_attention`, compiled attention with any mask."
    )
    flex_attn_compile_kwargs: dict[str, Any] | None = Field(
        None,
        description="Arguments of torch.compile for flex attention, such as `{dynamic: false, mode: max-autotune-no-cudagraphs}`. Default: none.",
    )
    eager_attention: bool | None = Field(
        None,
        description="Short for `attn_implementation: eager`, plain matrix products; slow, and memory grows with the square of the length.",
    )
    xformers_attention: bool | None = Field(None, description="Attention from the xformers package.")
    s2_attention: bool | None = Field(None, description="Shifted sparse attention (LongLoRA) for Llama models.")
    sage_attention: bool | None = Field(None, description="Attention in 8 bit (SageAttention).")
    flash_optimum: bool | None = Field(None, description="The removed BetterTransformer path; PyTorch's fused attention does this now.")
    flash_attn_cross_entropy: bool | None = Field(None, description="flash-attn's fused cross entropy.")
    flash_attn_rms_norm: bool | None = Field(None, description="flash-attn's fused RMS normalization.")
    flash_attn_fuse_mlp: bool | None = Field(None, description="Join the two input products of the MLP into one.")
    flash_attn_fuse_qkv: bool | None = Field(None, description="Join the query, key and value products into one.")
    flash_attn_d512: bool | None = Field(None, description="flash attention for heads of 512 numbers.")
    fa_varlen_kwargs_in_collator: bool | None = Field(
        None,
        description="With flash attention over packed rows, find where samples begin once for each batch instead of once in every layer. Changes no result.",
    )
    sdpa_varlen: bool | None = Field(None, description="PyTorch's fused attention with borders between packed samples.")
    fused_attn_kernel: bool | None = Field(None, description="A fused attention kernel for models that have one.")
    large_head_attention: str | None = Field(None, description="Attention code for models with very large heads.")
    gemma4_hybrid_attn_impl: bool | None = Field(None, description="Different attention code for the local and global layers of Gemma 4.")
    scaling_softmax: bool | None = Field(None, description="Scaled softmax (SSMax): sharper attention in long contexts.")
    scaling_softmax_factor: float | None = Field(None, description="SSMax: factor. Default: 0.43.")
    scaling_softmax_bias: float | None = Field(None, description="SSMax: bias. Default: 0, which generalizes best to longer contexts.")
