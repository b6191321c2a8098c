"""Rules about what is measured, written and recorded beside the training itself, and about layers that train by turns."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig

# These keep nothing for a parameter without a gradient, and make its moments when it first has one.
LISA_OPTIMIZERS = frozenset(
    [
        "adamw_torch",
        "adamw_torch_fused",
        "sgd",
        "rmsprop",
        "adafactor",
        "adamw_bnb_8bit",
        "adamw_8bit",
        "paged_adamw_8bit",
        "paged_adamw_32bit",
        "lion_8bit",
        "lion_32bit",
        "paged_lion_8bit",
        "paged_lion_32bit",
        "ademamix",
        "ademamix_8bit",
        "paged_ademamix_8bit",
        "paged_ademamix_32bit",
        "rmsprop_bnb",
        "rmsprop_bnb_8bit",
        "rmsprop_bnb_32bit",
    ]
)


def answers_have_settings(config: TrainingConfig) -> Iterator[Finding]:
    """`eval_max_new_tokens` is the length of some answers."""
    default = 128  # which recipes write out without a table to fill
    if config.eval_max_new_tokens not in (None, default) and not (config.eval_table_size or config.do_causal_lm_eval):
        message = "'eval_max_new_tokens' has no effect without 'eval_table_size' or 'do_causal_lm_eval'"
        yield Finding(
            code="conflict",
            path=("eval_max_new_tokens",),
            involves=("eval_table_size", "do_causal_lm_eval"),
            message=message,
            fix="Set one of them, or remove it.",
            warning=True,
        )


def likeliest_is_not_drawn(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of drawing go with drawing."""
    if config.generation_do_sample is not False or not config.generate_samples:
        return
    for name in ("generation_temperature", "generation_top_p", "generation_top_k"):
        if given(config, name):
            yield Finding(
                code="conflict",
                path=(name,),
                involves=("generation_do_sample",),
                message=f"'{name}' has no effect with `generation_do_sample: false`, which takes the likeliest token",
                fix="Remove one of them.",
                warning=True,
            )


def benchmark_has_tasks(config: TrainingConfig) -> Iterator[Finding]:
    """A benchmark after training consists of tasks."""
    if config.lm_eval_post_train and not config.lm_eval_tasks:
        yield Finding(
            code="missing",
            path=("lm_eval_tasks",),
            involves=("lm_eval_post_train",),
            message="`lm_eval_post_train: true` needs 'lm_eval_tasks'",
            fix="Name them, say `lm_eval_tasks: [arc_easy]`.",
        )


def lisa_complete(config: TrainingConfig) -> Iterator[Finding]:
    """LISA needs to know how many layers, and for how long."""
    for name, other, usual in (("lisa_step_interval", "lisa_n_layers", 10), ("lisa_n_layers", "lisa_step_interval", 2)):
        if getattr(config, other) and not getattr(config, name):
            yield Finding(code="missing", path=(name,), involves=(other,), message=f"'{other}' needs '{name}'", fix=f"{usual} is usual.")


def lisa_optimizer(config: TrainingConfig) -> Iterator[Finding]:
    """Layers take turns only under an optimizer that leaves a parameter without a gradient alone."""
    name = config.optimizer or "adamw_torch_fused"
    if config.lisa_n_layers and name not in LISA_OPTIMIZERS:
        yield Finding(
            code="conflict",
            path=("optimizer",),
            involves=("lisa_n_layers",),
            message=f"LISA does not go with the optimizer '{name}', which keeps state for layers that stand still",
            fix="adamw_torch_fused and adamw_8bit do.",
        )


RULES = (answers_have_settings, likeliest_is_not_drawn, benchmark_has_tasks, lisa_complete, lisa_optimizer)
