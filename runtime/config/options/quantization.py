"""Options of quantized weights: while training, trained for, and afterwards."""

from typing import Any, Literal

from pydantic import Field

from runtime.config.section import Section

TorchAODtype = Literal["int4", "int8", "float8_e4m3fn", "float8", "fp8", "nvfp4", "mxfp4"]


class QuantizationAwareTraining(Section):
    """Trains with the rounding of a later quantization already in the forward pass."""

    activation_dtype: TorchAODtype | None = Field(
        None, description="Number format that activations are rounded to. Unset: activations stay as they are."
    )
    weight_dtype: TorchAODtype = Field("int8", description="Number format that weights are rounded to.")
    quantize_embedding: bool | None = Field(False, description="Round the embedding matrix as well.")
    group_size: int | None = Field(32, ge=1, description="Number of neighbouring weights that share one scale.")
    fake_quant_after_n_steps: int | None = Field(None, ge=0, description="Steps of ordinary training before rounding begins.")


class PostTrainingQuantization(Section):
    """How a finished model is quantized."""

    weight_dtype: TorchAODtype = Field("int8", description="Number format of the weights.")
    activation_dtype: TorchAODtype | None = Field(None, description="Number format of the activations. Unset: only weights are quantized.")
    quantize_embedding: bool | None = Field(None, description="Quantize the embedding matrix as well.")
    group_size: int | None = Field(32, ge=1, description="Number of neighbouring weights that share one scale.")


class LLMCompressor(Section):
    """Sparse and quantized training through the llm-compressor package."""

    recipe: Any | None = Field(None, description="The compression recipe: a mapping, or the path of a YAML file.")
    save_compressed: bool = Field(False, description="Save the model in its compressed form.")


class QuantizationOptions:
    """Weights in fewer bits."""

    load_in_8bit: bool | None = Field(
        False,
        description="Hold the frozen base in 8 bit (bitsandbytes) while an adapter trains. Halves the weights' memory against 16 bit.",
    )
    load_in_4bit: bool | None = Field(
        False, description="Hold the frozen base in 4 bit (bitsandbytes) while an adapter trains; what `adapter: qlora` needs."
    )
    bnb_config_kwargs: dict[str, Any] | None = Field(
        None,
        description="Values laid over the 4- or 8-bit configuration: `bnb_4bit_quant_type` (nf4), `bnb_4bit_use_double_quant` (true), `llm_int8_has_fp16_weight` (false).",
    )
    nf4_backend: Literal["bitsandbytes", "torchao"] = Field("bitsandbytes", description="Package that holds 4-bit NF4 weights.")
    gptq: bool | None = Field(None, description="The base model is already quantized with GPTQ in 4 bit.")
    qlora_sharded_model_loading: bool | None = Field(
        False, description="Load a QLoRA base shard by shard under FSDP, so that no process holds the whole model."
    )
    quantize_moe_experts: bool = Field(
        False, description="Quantize fused expert weights too, which the usual 4-bit loading leaves in 16 bit."
    )
    nvfp4_merge_aware: bool | None = Field(None, description="Train the adapter so that it survives merging into NVFP4 weights.")
    nvfp4_merge_aware_start_step: int | float | None = Field(None, ge=0, description="Step, or share of training, at which that begins.")
    qat: QuantizationAwareTraining | None = Field(None, description="Quantization-aware training. Unset: off.")
    quantization: PostTrainingQuantization | None = Field(None, description="How the quantize command stores the trained model.")
    use_onebitllms: bool | None = Field(None, description="Train 1.58-bit (ternary) models with the onebitllms package.")
    llmcompressor: LLMCompressor | None = Field(None, description="Compression while training, through llm-compressor.")
