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
    ("adapter", "reinit_weights", "an adapter over random weights learns nothing of use"),
    ("deepspeed", "fsdp", "both spread the model over devices"),
    ("deepspeed", "fsdp_config", "both spread the model over devices"),
    ("reward_model", "process_reward_model", "a model scores whole answers or single steps"),
    ("rl", "reward_model", "training a reward model is a task of its own"),
    ("rl", "process_reward_model", "training a reward model is a task of its own"),
    ("pretraining_dataset", "test_datasets", "a stream of plain text has no separate evaluation here"),
    ("gradient_checkpointing", "selective_checkpointing", "both say which activations are kept"),
    ("gptq", "load_in_4bit", "the base is already held in 4 bit"),
    ("gptq", "load_in_8bit", "the base is already held in 4 bit"),
    ("jagged_restart_steps", "lr_quadratic_warmup", "both shape the warm-up"),
    ("relora", "fsdp", "ReLoRA rewrites the base, which is spread over devices there"),
    ("relora", "fsdp_config", "ReLoRA rewrites the base, which is spread over devices there"),
    ("relora", "deepspeed", "ReLoRA rewrites the base, which is spread over devices there"),
    ("streaming", "val_set_size", "rows of a stream cannot be set aside before they are read"),
)

# At most one of each group may be given.
GROUPS = (
    (("bf16", "fp16", "bfloat16", "float16", "float32"), "a run computes in one number format"),
    (
        ("flash_attention", "sdp_attention", "flex_attention", "eager_attention", "xformers_attention", "s2_attention", "sage_attention"),
        "a run has one attention implementation",
    ),
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
