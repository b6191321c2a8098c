"""Options of evaluation during and after training."""

from typing import Literal

from pydantic import Field


class EvaluationOptions:
    """When the model is measured, and on what."""

    eval_strategy: Literal["no", "steps", "epoch"] | None = Field(
        None, description="`no`, every `epoch`, or every so many `steps`. Default: from `eval_steps`."
    )
    eval_steps: int | float | None = Field(
        None, gt=0, description="Steps between evaluations; below 1, a share of all steps. Default: one an epoch."
    )
    evals_per_epoch: int | None = Field(None, ge=0, description="Evaluations in each epoch; 0 for none. Not together with `eval_steps`.")
    eval_on_start: bool | None = Field(
        None, description="Evaluate before the first step: shows early that evaluation works, and the loss to improve on."
    )
    load_best_model_at_end: bool | None = Field(
        False,
        description="End with the checkpoint that evaluated best instead of the last. Saving and evaluating must happen at the same steps.",
    )
    metric_for_best_model: str | None = Field(None, description="Measure that decides what is best. Default: the evaluation loss.")
    greater_is_better: bool | None = Field(
        None, description="Whether more of that measure is better. Default: no for a loss, yes otherwise."
    )
    early_stopping_patience: int | None = Field(None, ge=1, description="Stop after this many evaluations in a row without a better one.")
    eval_table_size: int | None = Field(
        None,
        ge=0,
        description="Validation rows answered at every evaluation, always the same first ones, with the likeliest tokens: recorded as `predictions` in the run's events and shown as a table in Weights & Biases, MLflow, Comet or TensorBoard. Default: 0, none.",
    )
    eval_max_new_tokens: int | None = Field(
        None, ge=1, description="Longest answer of `eval_table_size` and `do_causal_lm_eval`, in tokens. Default: 128."
    )
    do_causal_lm_eval: bool | None = Field(
        None,
        description="Answer every validation row at every evaluation and score the answers with `eval_causal_lm_metrics`; far slower than the evaluation loss. The scores can decide `metric_for_best_model`.",
    )
    eval_causal_lm_metrics: list[str] | None = Field(
        None,
        description="Scores of those answers: `sacrebleu`, `ter`, `chrf` (package sacrebleu) and `perplexity` (from the evaluation loss). Default: all four. `comet` is not supported: its package does not run with current libraries.",
    )
    do_bench_eval: bool | None = Field(None, description="Also answer a multiple-choice benchmark.")
    bench_dataset: str | None = Field(None, description="Dataset of that benchmark.")
    bench_split: str | None = Field(None, description="Split of that dataset.")
    lm_eval_tasks: list[str] | None = Field(
        None,
        description="Tasks of EleutherAI's lm-evaluation-harness (package lm_eval), by name or as paths of YAML files. `evaluate` runs them, and so does the training once its model is sealed; results go into the run's events and `lm_eval.json` in its folder. Most fetch their data from the Hub.",
    )
    lm_eval_batch_size: int | None = Field(None, ge=1, description="Rows answered at a time in those tasks. Default: 8.")
    lm_eval_post_train: bool | None = Field(
        None,
        description="Run them right after training. Default: true when `lm_eval_tasks` is set. A benchmark that fails is reported and costs nothing else.",
    )
    lm_eval_model: str | None = Field(
        None, description="Model to run them on, a folder or a Hub name, say to compare with the base. Default: the trained one."
    )
    generate_samples: bool | None = Field(
        None,
        description="Write answers to a few validation rows at every evaluation, always the same rows: shown on the terminal and recorded as `samples` in the run's events. Changes nothing in what is learnt.",
    )
    num_generation_samples: int | None = Field(None, ge=1, description="Number of sample answers. Default: 3.")
    generation_max_new_tokens: int | None = Field(None, ge=1, description="Longest sample answer, in tokens. Default: 50.")
    generation_temperature: float | None = Field(
        None, ge=0, description="Randomness of sample answers; 0 takes the likeliest token each time. Default: 0.7."
    )
    generation_top_p: float | None = Field(
        None, gt=0, le=1, description="Sample answers draw from the likeliest tokens that together have this probability. Default: 1, all."
    )
    generation_top_k: int | None = Field(None, ge=0, description="Sample answers draw from this many likeliest tokens. Default: 0, all.")
    generation_prompt_ratio: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of a row's tokens that is given as the prompt of a sample. Default: everything before the first learnt token; half of the row where all is learnt.",
    )
    generation_do_sample: bool | None = Field(
        None,
        description="Draw sample answers at random, the same way in every run of one seed; false takes the likeliest token. Default: true.",
    )
