"""Options of the optimizer and of learning rates that differ by parameter."""

from typing import Any, Literal

from pydantic import Field

from runtime.config.section import Section


class LearningRateGroup(Section):
    """Parameters that learn at a rate of their own."""

    name: str = Field(description="Name of the group in logs.")
    modules: list[str] = Field(description="Parts of parameter names that belong to the group.")
    lr: float = Field(gt=0, description="Learning rate of the group.")


class OptimizerOptions:
    """How gradients become new weights."""

    learning_rate: float = Field(
        gt=0,
        description="Peak learning rate. Around 2e-4 is usual for LoRA, 1e-5 to 2e-5 for full fine-tuning, far less for preference methods.",
    )
    optimizer: str | None = Field(
        "adamw_torch_fused",
        description="Optimizer. The default is AdamW in one fused kernel; `adamw_bnb_8bit` keeps its state in 8 bit, a quarter of the memory. `muon` orthogonalizes the updates of matrices inside the layers, with AdamW for all else, at AdamW's learning rates. Some need a package of their own and say which when it is missing.",
    )
    optim_args: str | dict[str, Any] | None = Field(
        None, description="Further arguments of the optimizer, as a mapping or as `key=value` pairs with commas."
    )
    optim_target_modules: list[str] | Literal["all_linear", "all-linear"] | None = Field(
        None, description="Modules whose gradients GaLore or APOLLO project; `all_linear` (or `all-linear`) for every linear layer."
    )
    weight_decay: float | None = Field(
        0.0, ge=0, description="Share of each weight taken away in a step, times the learning rate. 0 by default."
    )
    adam_beta1: float | None = Field(None, ge=0, lt=1, description="AdamW: memory of the gradient's mean. Default: 0.9.")
    adam_beta2: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="AdamW: memory of the gradient's square. Default: 0.999; 0.99 for lion_pytorch, 0.9999 for adopt_adamw.",
    )
    adam_beta3: float | None = Field(
        None, ge=0, lt=1, description="CAME: memory of the update's confidence. Default: 0.9999. No other optimizer has it."
    )
    adam_epsilon: float | None = Field(
        None,
        gt=0,
        description="AdamW: small number that keeps a division finite. Default: 1e-8; 1e-6 for adopt_adamw, 1e-30 for came_pytorch.",
    )
    adam_epsilon2: float | None = Field(
        None, gt=0, description="CAME: small number added to the update's confidence. Default: 1e-16. No other optimizer has it."
    )
    max_grad_norm: float | None = Field(
        None, ge=0, description="Gradients longer than this are shortened to it. Default: 1.0; 0 turns it off."
    )
    embedding_lr: float | None = Field(None, gt=0, description="Learning rate of the embeddings and the head. Default: `learning_rate`.")
    embedding_lr_scale: float | None = Field(None, gt=0, description="The same as a multiple of `learning_rate`.")
    lr_groups: list[LearningRateGroup] | None = Field(None, description="Groups of parameters with a learning rate of their own.")
    torchdistx_path: str | None = Field(None, description="Folder of the torchdistX package, for `adamw_anyprecision`.")
    dion_lr: float | None = Field(None, gt=0, description="Dion: learning rate of the matrices it orthogonalizes.")
    dion_momentum: float | None = Field(None, ge=0, lt=1, description="Dion: momentum.")
    dion_rank_fraction: float | None = Field(1.0, gt=0, le=1, description="Dion: rank of its approximation, as a share of the full one.")
    dion_rank_multiple_of: int | None = Field(1, ge=1, description="Dion: that rank is rounded up to a multiple of this, to shard evenly.")
    qgalore_rank: int | None = Field(None, ge=1, description="Q-GaLore: rank of the projected gradients.")
    qgalore_update_proj_gap: int | None = Field(None, ge=1, description="Q-GaLore: steps between new projections.")
    qgalore_scale: float | None = Field(None, gt=0, description="Q-GaLore: strength of the projected update.")
    qgalore_proj_type: str | None = Field(None, description="Q-GaLore: kind of projection.")
    qgalore_proj_quant: bool | None = Field(None, description="Q-GaLore: keep the projection in few bits.")
    qgalore_proj_bits: int | None = Field(None, ge=1, description="Q-GaLore: how many bits.")
    qgalore_proj_group_size: int | None = Field(None, ge=1, description="Q-GaLore: numbers that share one scale.")
    qgalore_cos_threshold: float | None = Field(
        None, description="Q-GaLore: likeness of two projections above which a layer is projected anew less often."
    )
    qgalore_gamma_proj: int | None = Field(None, ge=1, description="Q-GaLore: factor by which it then waits longer.")
    qgalore_queue_size: int | None = Field(None, ge=1, description="Q-GaLore: projections that are compared.")
    grokfast_alpha: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Grokfast: memory of the exponential mean of each gradient, its slow part; nearer to 1 is slower. Default: 0.98 when `grokfast_lamb` is set or the plugin is listed, else off. Costs the memory of one more copy of the gradients.",
    )
    grokfast_lamb: float | None = Field(
        None,
        ge=0,
        description="Grokfast: how many times the slow part is added to the gradient, after clipping. Default: 2.0 when `grokfast_alpha` is set or the plugin is listed, else off.",
    )
