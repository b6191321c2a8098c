"""Options of adapters: LoRA and its relatives, and what they start from."""

from typing import Annotated

from pydantic import Field, Strict

from runtime.config.section import Section


class LoftQ(Section):
    """Starts LoRA so that the quantized base plus the adapter is close to the unquantized base."""

    loftq_bits: int = Field(4, ge=2, le=8, description="Bits of the quantization that the start values make up for. 4 fits QLoRA.")


class Peft(Section):
    """Settings handed to the peft package that have no option of their own."""

    loftq_config: LoftQ | None = Field(None, description="LoftQ start of the adapter.")


class MoRA(Section):
    """High-rank updating with square matrices."""

    mora_type: int | str | None = Field(None, description="Which compression and sharing scheme MoRA uses.")
    use_mora: bool | None = Field(None, description="Turn MoRA on.")


class AdapterOptions:
    """Training a small set of added weights instead of the model's own."""

    adapter: str | None = Field(
        None,
        description="`lora`, or `qlora` for LoRA on a base held in 4 bit. Unset: every weight of the model trains, which needs about sixteen bytes a parameter with AdamW.",
    )
    lora_model_dir: str | None = Field(None, description="A trained adapter to go on from, or to merge: a folder or a repository.")
    lora_r: int | None = Field(
        None,
        ge=1,
        description="Rank of the adapter: how many directions each matrix may change in. 8 to 64 is usual; memory and size grow in step with it.",
    )
    lora_alpha: int | None = Field(
        None,
        ge=1,
        description="Strength of the adapter: its output is scaled by alpha / rank (alpha / √rank with rsLoRA). Once or twice the rank is usual.",
    )
    lora_dropout: float | None = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of adapter inputs dropped while training, below 1. 0 is the default and what fused LoRA kernels need.",
    )
    lora_target_modules: str | list[str] | None = Field(
        None,
        description="Names of the linear layers that get an adapter, such as `q_proj`; a text is read as a regular expression, `all-linear` means every linear layer but the head.",
    )
    lora_target_linear: bool | None = Field(
        None,
        description="Adapt every linear layer except the output head. The usual choice for quality; modules in `lora_target_modules` are adapted besides.",
    )
    lora_target_parameters: str | list[str] | None = Field(
        None, description="Names of bare parameters to adapt, for weights that are no linear layer such as fused experts."
    )
    lora_modules_to_save: list[str] | None = Field(
        None,
        description="Modules that train in full beside the adapter and are saved with it. Needed after adding tokens: `[embed_tokens, lm_head]` for Llama-like models.",
    )
    lora_fan_in_fan_out: bool | None = Field(None, description="Set for layers that store their weight transposed, as GPT-2's Conv1D does.")
    lora_on_cpu: bool | None = Field(None, description="Do adapter loading and merging in host memory, for bases that fill the GPU.")
    lora_rank_pattern: dict[str, int] | None = Field(None, description="Rank for layers whose name matches a pattern, over `lora_r`.")
    lora_alpha_pattern: dict[str, int] | None = Field(None, description="Alpha for layers whose name matches a pattern, over `lora_alpha`.")
    lora_fp32_gradients: bool = Field(
        False,
        description="Keep the adapter's gradients, and so its weights, in 32 bit even where `peft_autocast_adapter_dtype: false` leaves them in the base's format. Not with DeepSpeed or FSDP, which choose formats themselves.",
    )
    peft: Peft | None = Field(None, description="Settings handed to the peft package that have no option of their own.")
    peft_layers_to_transform: list[int] | None = Field(None, description="Indices of the layers that get an adapter. Default: all.")
    peft_layers_pattern: list[str] | None = Field(
        None, description="Name of the module list that those indices count in, where it is not found by itself."
    )
    peft_use_dora: bool | None = Field(
        None, description="DoRA: train direction and magnitude apart. Closer to full fine-tuning at the same rank, and slower."
    )
    peft_use_rslora: bool | None = Field(None, description="rsLoRA: divide by √rank instead of rank, which keeps high ranks useful.")
    peft_layer_replication: list[Annotated[tuple[int, int], Strict(False)]] | None = Field(
        None,
        description="Builds a deeper model from ranges of the base's layers, `[[0, 4], [2, 5]]`; the copies share weights and get their own adapters.",
    )
    peft_init_lora_weights: bool | str | None = Field(
        None,
        description="How the adapter starts: true is the usual random and zero pair; `gaussian`, `pissa`, `pissa_niter_16` (fast), `olora`, `orthogonal`, `mica`. `eva`, `corda` and `lora_ga` need a pass over data first and `loftq` a GPU: not built.",
    )
    peft_trainable_token_indices: list[int] | dict[str, list[int]] | None = Field(
        None,
        description="Token ids whose embedding rows train beside the adapter: far smaller than saving the whole embedding. A mapping names the embedding layer.",
    )
    peft_ensure_weight_tying: bool | None = Field(None, description="Keep adapters of tied layers (embedding and head) tied too.")
    peft_autocast_adapter_dtype: bool | None = Field(
        None, description="Raise adapter weights to 32 bit for stable training. Default: yes, as in peft."
    )
    loraplus_lr_ratio: float | None = Field(
        None,
        gt=0,
        description="LoRA+: learning rate of the B matrices over that of the A matrices. 16 is the paper's advice; unset: both the same.",
    )
    loraplus_lr_embedding: float | None = Field(1e-6, gt=0, description="LoRA+: learning rate of adapters on embedding layers.")
    merge_lora: bool | None = Field(None, description="Set by the merge command; no need to write it in a recipe.")
    merge_method: str | None = Field(
        None,
        pattern=r"^(legacy|memory_efficient)$",
        description="How an adapter is merged into its base after training: `legacy` loads the whole model at once, which is what happens here; `memory_efficient`, shard by shard, is not built.",
    )
    relora: bool | None = Field(
        None,
        description="ReLoRA: every `jagged_restart_steps` the adapter is merged into the base, a new one starts and the optimizer forgets most of its state, so that many small changes add up to a high rank. Set `jagged_restart_warmup_steps` too: a new adapter wants small steps first. Each checkpoint holds the changed base weights, so it is as large as they are, and the final model is a whole model. Not over a base in 4 or 8 bit.",
    )
    relora_prune_ratio: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the adapter's optimizer state that a ReLoRA restart sets to zero. Default: 0.9, as in the paper; with `relora_prune_method: reset`, all of it.",
    )
    relora_prune_method: str | None = Field(
        None,
        pattern=r"^(magnitude|random|reset)$",
        description="How a ReLoRA restart chooses what to forget: `magnitude` (default) keeps the largest numbers, `random` any, `reset` nothing; `reset` with a ratio is `random`. 8-bit optimizers can only `reset`.",
    )
    relora_cpu_offload: bool | None = Field(
        None,
        description="Do ReLoRA's merges layer by layer in host memory; slower, spares the GPU one matrix of the size of the largest layer.",
    )
    mora: MoRA | None = Field(None, description="Settings of the MoRA adapter.")
    mixlora_num_experts: int | None = Field(None, ge=1, description="MixLoRA: number of adapter experts in each layer.")
    mixlora_top_k: int | None = Field(None, ge=1, description="MixLoRA: experts used for each token.")
    mixlora_router_aux_loss_coef: float | None = Field(
        None, ge=0, description="MixLoRA: weight of the loss that keeps experts evenly used."
    )
    mixlora_router_init_range: float | None = Field(None, description="MixLoRA: spread of the router's start values.")
    mixlora_jitter_noise: float | None = Field(None, ge=0, description="MixLoRA: noise on the router's input while training.")
    mixlora_expert_lora_r: int | None = Field(None, ge=1, description="MixLoRA: rank of each expert. Default: `lora_r`.")
    mixlora_expert_lora_alpha: int | None = Field(None, ge=1, description="MixLoRA: alpha of each expert. Default: `lora_alpha`.")
    mixlora_expert_lora_dropout: float | None = Field(None, ge=0, le=1, description="MixLoRA: dropout of each expert.")
    spectrum_top_fraction: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Spectrum: share of the weight matrices that train, those with the highest signal-to-noise ratio among their kind (all up projections, all query projections, …), at least one of each; embeddings and head train too, the rest is frozen. The weights are measured once at the start, seconds to minutes; 0.25 and 0.5 are the paper's. For full fine-tuning only. Unset: everything trains.",
    )
    spectrum_model_name: str | None = Field(
        None,
        description="Spectrum: model whose weights are measured instead, of the same architecture and size: the original of a `base_model` that was tuned further, say. Default: `base_model`.",
    )
    lisa_n_layers: int | None = Field(
        None,
        ge=1,
        description="LISA: number of layers that train at a time, drawn at random; embeddings, head and final norm always train. Only these layers hold gradients and optimizer moments: close to LoRA's memory in full fine-tuning. 2 to 4 are the paper's. Needs `lisa_step_interval`.",
    )
    lisa_step_interval: int | None = Field(
        None,
        ge=1,
        description="LISA: optimizer steps between draws; each starts its layers with fresh moments. 5 to 20 are the paper's. The draws follow from `seed`.",
    )
    lisa_layers_attribute: str | None = Field(
        "model.layers",
        description="LISA: path in the model to its list of layers. The default is right for most; GPT-2 has `transformer.h`.",
    )
