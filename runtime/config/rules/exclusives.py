"""Options that cannot be given together."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig

PAIRS = (
    ("warmup_steps", "warmup_ratio", "both say how long the warm-up is"),
    ("eval_steps", "evals_per_epoch", "both say how often to evaluate"),
    ("save_steps", "saves_per_epoch", "both say how often to save"),
    ("val_set_size", "test_datasets", "both say what to evaluate on"),
    ("load_in_8bit", "load_in_4bit", "a base is held in 8 or in 4 bit"),
    ("embedding_lr", "embedding_lr_scale", "both set the learning rate of the embeddings"),
    ("gradient_accumulation_steps", "batch_size", "each follows from the other"),
    ("sample_packing", "group_by_length", "packed rows all have the same length"),
    ("curriculum_sampling", "group_by_length", "one keeps the order of rows, the other changes it"),
    ("sample_packing", "batch_flattening", "packed rows have no padding to remove"),
    ("adapter", "unfrozen_parameters", "an adapter freezes the whole base"),
    ("adapter", "spectrum_top_fraction", "an adapter freezes the whole base"),
    ("adapter", "lisa_n_layers", "an adapter freezes the whole base"),
    ("unfrozen_parameters", "spectrum_top_fraction", "both say which parameters train"),
    ("unfrozen_parameters", "lisa_n_layers", "both say which parameters train"),
    ("spectrum_top_fraction", "lisa_n_layers", "both say which layers train"),
    ("spectrum_top_fraction", "reinit_weights", "random weights have no signal to find"),
    ("lisa_n_layers", "fsdp", "layers that take turns cannot be spread over devices"),
    ("lisa_n_layers", "fsdp_config", "layers that take turns cannot be spread over devices"),
    ("lisa_n_layers", "deepspeed", "layers that take turns cannot be spread over devices"),
    ("lisa_n_layers", "torch_compile", "every turn would compile the model anew"),
    ("adapter", "reinit_weights", "an adapter over random weights learns nothing of use"),
    ("deepspeed", "fsdp", "both spread the model over devices"),
    ("deepspeed", "fsdp_config", "both spread the model over devices"),
    ("reward_model", "process_reward_model", "a model scores whole answers or single steps"),
    ("rl", "reward_model", "training a reward model is a task of its own"),
    ("rl", "process_reward_model", "training a reward model is a task of its own"),
    ("pretraining_dataset", "test_datasets", "a stream of plain text has no separate evaluation here"),
    ("gpu_memory_limit", "max_memory", "both limit what the model may take of each device while it loads"),
    ("model_quantization_config", "load_in_4bit", "the base is already held in few bits"),
    ("model_quantization_config", "load_in_8bit", "the base is already held in few bits"),
    ("torch_compile_mode", "torch_compile_options", "a mode is a set of options"),
    ("gptq", "load_in_4bit", "the base is already held in 4 bit"),
    ("gptq", "load_in_8bit", "the base is already held in 4 bit"),
    ("jagged_restart_steps", "lr_quadratic_warmup", "both shape the warm-up"),
    ("relora", "fsdp", "ReLoRA rewrites the base, which is spread over devices there"),
    ("relora", "fsdp_config", "ReLoRA rewrites the base, which is spread over devices there"),
    ("relora", "deepspeed", "ReLoRA rewrites the base, which is spread over devices there"),
    ("streaming", "val_set_size", "rows of a stream cannot be set aside before they are read"),
    ("pretraining_dataset", "val_set_size", "rows of a stream cannot be set aside before they are read"),
    ("streaming", "group_by_length", "the lengths of a stream are not known before it is read"),
    ("pretraining_dataset", "group_by_length", "the lengths of a stream are not known before it is read"),
    ("streaming", "dataset_exact_deduplication", "a stream is never there as a whole"),
    ("pretraining_dataset", "dataset_exact_deduplication", "a stream is never there as a whole"),
    ("skip_prepare_dataset", "dataset_exact_deduplication", "rows are compared while they are prepared"),
    ("skip_prepare_dataset", "sample_packing", "rows are packed while they are prepared"),
    ("pretrain_multipack_buffer_size", "streaming_multipack_buffer_size", "one is the older name of the other"),
    ("deepspeed", "device_map", "DeepSpeed places the layers itself"),
    ("fsdp", "device_map", "FSDP places the layers itself"),
    ("fsdp_config", "device_map", "FSDP places the layers itself"),
    ("qat", "load_in_4bit", "rounding is learnt on weights that are not rounded yet"),
    ("qat", "load_in_8bit", "rounding is learnt on weights that are not rounded yet"),
    ("qat", "peft", "rounding is learnt on the whole model"),
    ("sample_packing", "s2_attention", "shifted sparse attention does not see where packed rows begin"),
    ("tokenizer_use_mistral_common", "added_tokens_overrides", "that tokenizer cannot be changed"),
    ("tokenizer_use_mistral_common", "special_tokens", "that tokenizer cannot be changed"),
    ("tokenizer_use_mistral_common", "tokens", "that tokenizer cannot be changed"),
    ("tokenizer_use_mistral_common", "chat_template", "that tokenizer has a template of its own"),
    ("use_scattermoe", "use_sonicmoe", "one of them computes the experts"),
    ("relora", "flash_attn_fuse_mlp", "ReLoRA merges into layers that are joined there"),
)

# At most one of each group may be given.
GROUPS = (
    (("use_dft", "use_eaft", "kd_trainer", "cut_cross_entropy"), "a token has one cost, and cut cross entropy knows the plain one alone"),
    (
        ("chunked_cross_entropy", "cut_cross_entropy", "liger_fused_linear_cross_entropy"),
        "each of them does without the logits of all tokens in its own way",
    ),
    (
        ("use_dft", "use_eaft", "kd_trainer", "liger_fused_linear_cross_entropy"),
        "a token has one cost, and Liger's fused loss knows the plain one alone",
    ),
    (("bf16", "fp16", "bfloat16", "float16", "float32"), "a run computes in one number format"),
    (
        ("flash_attention", "sdp_attention", "flex_attention", "eager_attention", "xformers_attention", "s2_attention", "sage_attention"),
        "a run has one attention implementation",
    ),
    (("flash_attn_cross_entropy", "unsloth_cross_entropy_loss"), "each computes the loss"),
    (("liger_rms_norm", "flash_attn_rms_norm", "unsloth_rms_norm"), "each computes the normalization"),
    (("liger_rope", "unsloth_rope"), "each computes the rotary positions"),
)


def exclusive_pairs(config: TrainingConfig) -> Iterator[Finding]:
    """Both options of a pair are given."""
    for first, second, why in PAIRS:
        if given(config, first) and given(config, second):
            yield Finding(
                code="conflict",
                path=(second,),
                involves=(first,),
                message=f"'{first}' and '{second}' exclude each other: {why}",
                fix="Keep one of them.",
            )


def exclusive_groups(config: TrainingConfig) -> Iterator[Finding]:
    """More than one option of a group is given. `bf16: auto` asks for nothing in particular."""
    for names, why in GROUPS:
        chosen = [name for name in names if given(config, name) and getattr(config, name) != "auto"]
        for other in chosen[1:]:
            yield Finding(
                code="conflict",
                path=(other,),
                involves=(chosen[0],),
                message=f"'{chosen[0]}' and '{other}' exclude each other: {why}",
                fix="Keep one of them.",
            )


RULES = (exclusive_pairs, exclusive_groups)
