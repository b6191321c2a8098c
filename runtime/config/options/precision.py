"""Options of number formats and of compiling."""

from typing import Any, Literal

from pydantic import Field

from runtime.config.section import Section


class SelectiveCheckpointing(Section):
    """What a checkpointed layer keeps instead of computing it again."""

    save: list[str] = Field(
        default_factory=lambda: ["attention"],
        min_length=1,
        description="Operations whose outputs are kept: `attention` for attention of any kind, or names of PyTorch operations such as `aten::mm`, the matrix product. Default: attention, which costs most to compute again at long contexts and keeps one tensor of the layer's width.",
    )
    save_sliding_window: bool = Field(
        False, description="Keep attention over a sliding window too. Default: no, its cost does not grow with the context."
    )
    offload: bool = Field(False, description="Move what is kept to host memory.")


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
    fp32_norms: bool | None = Field(
        None,
        description="Hold and compute normalization layers in 32 bit inside a model of 16 bit: their weights move in steps that 16 bit may round away. The layers around them see the formats they had; memory hardly changes.",
    )
    fp32_norm_classes: list[str] | None = Field(
        None,
        description="Which layers count as normalization: ends of class names such as `RMSNorm`, or a class with its module. Default: `[RMSNorm, LayerNorm]`.",
    )
    torch_compile: Literal["auto"] | bool | None = Field(
        None,
        description="Compile the model with torch.compile: slow first steps, then faster ones. Rows of one length (`pad_to_sequence_len`) compile once; others once more, for lengths in general. `auto` is the reference's word for a torch of 2.6 or newer, which every run here has: the same as true.",
    )
    torch_compile_backend: str | None = Field(None, description="Backend of torch.compile. Default: inductor. Needs `torch_compile`.")
    torch_compile_mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None = Field(
        None, description="What torch.compile optimizes for. Needs `torch_compile`; not together with `torch_compile_options`."
    )
    torch_compile_regional: bool | None = Field(
        None,
        description="Compile one of the repeated layers and use it for all: far shorter compile time, nearly the same speed. Needs `torch_compile`.",
    )
    torch_compile_options: dict[str, Any] | None = Field(
        None, description="Options handed to the compiler's backend, such as `{shape_padding: true}` for inductor. Needs `torch_compile`."
    )
    gradient_checkpointing: Literal["offload", "offload_disk"] | bool | None = Field(
        False,
        description="Keep the input of each layer alone and compute the other activations again: about a third slower, far less memory. `offload` (on a GPU) keeps the inputs in host memory, `offload_disk` in files under `output_dir`, gone after each step: only as fast as the disk.",
    )
    gradient_checkpointing_kwargs: dict[str, Any] | None = Field(
        None, description="Arguments of checkpointing, such as `use_reentrant: false`, or `every_n_layers: 2` for every second layer alone."
    )
    selective_checkpointing: SelectiveCheckpointing | bool | None = Field(
        None,
        description="With `gradient_checkpointing: true`, keep the outputs of the operations that cost most to compute again. True keeps attention: most of the time that checkpointing costs at long contexts comes back for one more tensor a layer.",
    )
    activation_offloading: Literal["legacy", "hidden_states", "disk"] | bool | None = Field(
        False,
        description="Where activations wait for the backward pass, with `gradient_checkpointing: true`. True copies them to host memory while the GPU computes on (TRL's offloading); `legacy` and `hidden_states` copy the inputs of layers alone, in line with the computation, as `gradient_checkpointing: offload` does; `disk` is `offload_disk`. All but `disk` need a GPU. Default: false, they stay.",
    )
    layer_offloading: bool | None = Field(None, description="Keep frozen layers in host memory and bring them in one at a time.")
