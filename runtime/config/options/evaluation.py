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
    eval_table_size: int | None = Field(None, ge=0, description="Predictions shown as a table in the experiment tracker. Default: 0, none.")
    eval_max_new_tokens: int | None = Field(None, ge=1, description="Tokens generated for each of those predictions. Default: 128.")
    do_causal_lm_eval: bool | None = Field(
        None, description="Generate answers to the evaluation prompts and score them with `eval_causal_lm_metrics`."
    )
    eval_causal_lm_metrics: list[str] | None = Field(
        None, description="Scores of generated answers: `sacrebleu`, `comet`, `ter`, `chrf`, `perplexity`."
    )
    do_bench_eval: bool | None = Field(None, description="Also answer a multiple-choice benchmark.")
    bench_dataset: str | None = Field(None, description="Dataset of that benchmark.")
    bench_split: str | None = Field(None, description="Split of that dataset.")
    lm_eval_tasks: list[str] | None = Field(None, description="Tasks of the lm-evaluation-harness to run.")
    lm_eval_batch_size: int | None = Field(None, ge=1, description="Batch size of those tasks.")
    lm_eval_post_train: bool | None = Field(None, description="Run them right after training.")
    lm_eval_model: str | None = Field(None, description="Model to run them on. Default: the trained one.")
    generate_samples: bool | None = Field(None, description="Write sample answers at every evaluation.")
    num_generation_samples: int | None = Field(None, ge=1, description="Number of sample answers.")
    generation_max_new_tokens: int | None = Field(None, ge=1, description="Longest sample answer, in tokens.")
    generation_temperature: float | None = Field(None, ge=0, description="Randomness of sample answers.")
    generation_top_p: float | None = Field(
        None, gt=0, le=1, description="Sample answers draw from the likeliest tokens that make up this share."
    )
    generation_top_k: int | None = Field(None, ge=0, description="Sample answers draw from this many likeliest tokens.")
    generation_prompt_ratio: float | None = Field(None, ge=0, le=1, description="Share of a row that is given as the prompt of a sample.")
    generation_do_sample: bool | None = Field(None, description="Draw sample answers at random instead of taking the likeliest token.")
