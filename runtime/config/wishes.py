"""What of a recipe's wishes other rules ask about more than once, and the option each is written with."""

from __future__ import annotations

from runtime.config.schema import TrainingConfig

ATTENTION_FLAGS = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "flex_attention": "flex_attention",
    "eager_attention": "eager",
    "xformers_attention": "xformers",
    "sage_attention": "sage",
    "s2_attention": "s2",
}


def attention_of(config: TrainingConfig) -> tuple[str, str | None]:
    """The option that chooses the attention and the name it chooses, None when the model's own is left to choose."""
    if config.attn_implementation is not None:
        return "attn_implementation", config.attn_implementation
    return next(((flag, name) for flag, name in ATTENTION_FLAGS.items() if getattr(config, flag)), ("attn_implementation", None))


def bnb_optimizer(config: TrainingConfig) -> str | None:
    """`optimizer` when it is one of bitsandbytes'."""
    name = str(config.optimizer or "")
    ours = name.startswith("paged_") or "_bnb" in name or name in ("adamw_8bit", "ademamix_8bit", "lion_8bit", "lion_32bit")
    return "optimizer" if ours or (name.startswith("galore_") and "8bit" in name) else None


def liger(config: TrainingConfig) -> str | None:
    """The first option that asks for one of Liger's kernels."""
    names = ("cross_entropy", "fused_linear_cross_entropy", "rms_norm", "rms_norm_gated", "layer_norm", "rope", "glu_activation")
    return next((f"liger_{name}" for name in names if getattr(config, f"liger_{name}")), None)


def fsdp_option(config: TrainingConfig) -> str | None:
    """The option that turns FSDP on."""
    if config.fsdp_config is not None and config.fsdp_config.model_fields_set:
        return "fsdp_config"
    return "fsdp" if config.fsdp else None


def fsdp_reshards(config: TrainingConfig) -> bool:
    """Whether FSDP frees a layer's gathered weights after its forward pass: as said, or by the older words for it, else yes."""
    section = config.fsdp_config
    if section is not None and section.reshard_after_forward is not None:
        return section.reshard_after_forward
    return "shard_grad_op" not in (config.fsdp or ()) and (section is None or section.sharding_strategy != "SHARD_GRAD_OP")


def fsdp_state_dict_type(config: TrainingConfig) -> str:
    """The form of FSDP's checkpoints; shared out between the processes where nothing is said."""
    return (config.fsdp_config.state_dict_type if config.fsdp_config is not None else None) or "SHARDED_STATE_DICT"


def recomputes(config: TrainingConfig) -> bool:
    """Whether activations are computed again in the backward pass, asked for in either place."""
    section = config.fsdp_config
    return bool(config.gradient_checkpointing) or (section is not None and bool(section.activation_checkpointing))


def offloads(config: TrainingConfig) -> bool:
    """Whether weights wait in host memory, which saves memory on one GPU too."""
    if config.fsdp_config is not None and config.fsdp_config.offload_params:
        return True
    said = str(config.deepspeed or "") + str(config.fsdp or "")
    return "offload" in said or said.endswith(".json")
