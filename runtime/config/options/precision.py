"""Options of number formats and of compiling."""

from typing import Any, Literal

from pydantic import Field


class PrecisionOptions:
    """In which precision the model computes."""

    bf16: Literal["auto", "full"] | bool | None = Field(
        "auto",
        description="Mixed precision in bfloat16; `auto` where the device can (compute capability 8.0 and up), `full` evaluates in bfloat16 too.",
    )
    fp16: Literal["auto"] | bool | None = Field(
        None, description="Mixed precision in float16 with loss scaling, for GPUs without bfloat16."
    )
    bfloat16: bool | None = Field(
        None, description="The whole model in bfloat16, no 32-bit master weights. Least memory; small updates may be lost in rounding."
    )
    float16: bool | None = Field(None, description="The whole model in float16, no 32-bit master weights.")
    float32: bool | None = Field(None, description="The whole model in float32.")
    tf32: Literal["auto"] | bool | None = Field(
        None, description="Let 32-bit matrix products use the faster TF32 units (compute capability 8.0 and up)."
    )
    fp8: bool | None = Field(
        None,
        description="Matrix products in 8-bit floats through torchao (compute capability 8.9 and up); gains most with `torch_compile`.",
    )
    fp8_config: dict[str, Any] | None = Field(None, description="Details of 8-bit training.")
    fp8_enable_fsdp_float8_all_gather: bool | None = Field(None, description="Under FSDP2, gather weights in 8 bit: less traffic.")
    fp32_norms: bool | None = Field(None, description="Keep normalization layers in 32 bit.")
    fp32_norm_classes: list[str] | None = Field(None, description="Which layers count as normalization.")
    torch_compile: Literal["auto"] | bool | None = Field(
        None,
        description="Compile the model with torch.compile: slow first steps, then faster ones. `auto` where the torch version does it well.",
    )
    torch_compile_backend: str | None = Field(None, description="Backend of torch.compile. Default: inductor.")
    torch_compile_mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None = Field(
        None, description="What torch.compile optimizes for."
    )
    torch_compile_regional: bool | None = Field(None, description="Compile one layer and reuse it for all: far shorter compile time.")
    torch_compile_options: dict[str, Any] | None = Field(None, description="Options handed to the compiler's backend.")
    gradient_checkpointing: Literal["offload", "offload_disk"] | bool | None = Field(
        False,
        description="Keep few activations and compute the others again: about a third slower, far less memory. `offload` keeps them in host memory, `offload_disk` on disk.",
    )
    gradient_checkpointing_kwargs: dict[str, Any] | None = Field(
        None, description="Arguments of checkpointing, such as `use_reentrant: false`."
    )
    selective_checkpointing: dict[str, Any] | bool | None = Field(None, description="Checkpoint only what is cheap to compute again.")
    activation_offloading: Literal["legacy", "disk"] | bool | None = Field(
        False, description="Move activations to host memory (or disk) between forward and backward pass."
    )
    layer_offloading: bool | None = Field(None, description="Keep frozen layers in host memory and bring them in one at a time.")
