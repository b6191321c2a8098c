"""Rules about when a run evaluates and saves."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import evaluates, given
from runtime.config.schema import TrainingConfig

NEED_DATA = (
    "eval_steps",
    "early_stopping_patience",
    "load_best_model_at_end",
    "metric_for_best_model",
    "eval_on_start",
    "generate_samples",
    "eval_table_size",
    "do_causal_lm_eval",
)


def evaluation_has_data(config: TrainingConfig) -> Iterator[Finding]:
    """Whoever asks for evaluations says on what."""
    if evaluates(config) or config.pretraining_dataset:
        return
    asked = [name for name in NEED_DATA if given(config, name)]
    asked += ["eval_strategy"] if config.eval_strategy not in (None, "no") else []
    asked += ["save_strategy"] if config.save_strategy == "best" else []
    for name in asked:
        message = f"'{name}' needs evaluations, and there are no data to evaluate on"
        yield Finding(
            code="conflict",
            path=(name,),
            involves=("val_set_size", "test_datasets"),
            message=message,
            fix="Set `val_set_size`, say 0.05, or `test_datasets`; or remove it.",
        )
    if given(config, "evals_per_epoch"):
        message = "'evals_per_epoch' has no effect: there are no data to evaluate on"
        yield Finding(
            code="conflict",
            path=("evals_per_epoch",),
            involves=("val_set_size", "test_datasets"),
            message=message,
            fix="Set `val_set_size`, say 0.05, or remove it.",
            warning=True,
        )


def beat_matches_strategy(config: TrainingConfig) -> Iterator[Finding]:
    """Steps go with the strategy `steps`."""
    for strategy, counts in (("eval_strategy", ("eval_steps", "evals_per_epoch")), ("save_strategy", ("save_steps", "saves_per_epoch"))):
        chosen = getattr(config, strategy)
        for count in counts:
            if chosen not in (None, "steps") and given(config, count):
                message = f"'{count}' has no effect with `{strategy}: {chosen}`"
                yield Finding(
                    code="conflict", path=(count,), involves=(strategy,), message=message, fix=f"Remove '{count}', or '{strategy}'."
                )


def best_needs_evaluation(config: TrainingConfig) -> Iterator[Finding]:
    """The best checkpoint is known only from evaluations."""
    if config.eval_strategy == "no":
        for name in ("early_stopping_patience", "load_best_model_at_end"):
            if given(config, name):
                yield Finding(
                    code="conflict",
                    path=(name,),
                    involves=("eval_strategy",),
                    message=f"'{name}' needs evaluations, and eval_strategy is `no`",
                    fix="Remove one of them.",
                )


def best_can_be_kept(config: TrainingConfig) -> Iterator[Finding]:
    """Ending with the best checkpoint needs checkpoints."""
    if config.load_best_model_at_end and config.save_strategy == "no":
        message = "'load_best_model_at_end' needs checkpoints, and save_strategy is `no`"
        yield Finding(
            code="conflict", path=("load_best_model_at_end",), involves=("save_strategy",), message=message, fix="Remove one of them."
        )


def resume_needs_optimizer(config: TrainingConfig) -> Iterator[Finding]:
    """A run without optimizer states cannot go on."""
    if config.save_only_model and config.auto_resume_from_checkpoints:
        message = "'save_only_model' leaves out what 'auto_resume_from_checkpoints' needs"
        yield Finding(
            code="conflict",
            path=("save_only_model",),
            involves=("auto_resume_from_checkpoints",),
            message=message,
            fix="Remove save_only_model.",
        )


def direction_has_metric(config: TrainingConfig) -> Iterator[Finding]:
    """`greater_is_better` says it of something."""
    if "greater_is_better" in config.model_fields_set and config.metric_for_best_model is None:
        message = "'greater_is_better' has no effect without 'metric_for_best_model'"
        yield Finding(
            code="conflict",
            path=("greater_is_better",),
            involves=("metric_for_best_model",),
            message=message,
            fix="Name the measure, or remove it.",
            warning=True,
        )


RULES = (evaluation_has_data, beat_matches_strategy, best_needs_evaluation, best_can_be_kept, resume_needs_optimizer, direction_has_metric)
