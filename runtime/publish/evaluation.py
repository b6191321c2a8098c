"""Evaluating a trained model on the recipe's validation rows."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.config.problem import Problem, UserError
from runtime.publish.trained import load_trained, this_device


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How well a model predicts `rows` rows: mean loss a batch, and its exponential."""

    path: Path
    rows: int
    loss: float
    perplexity: float
    seconds: float


def evaluate(config: Any, folder: Path) -> Evaluation:
    """The trained model's loss on the validation rows. Raises UserError when the recipe has none, or the model is damaged."""
    from transformers import Trainer, TrainingArguments

    from runtime.data.collate import collator_for
    from runtime.data.prepare import prepare
    from runtime.model.tokenizer import load_tokenizer

    prepared = prepare(config, load_tokenizer(config))
    if prepared.validation is None or len(prepared.validation) == 0:
        raise UserError(
            Problem(
                code="missing",
                path="val_set_size",
                message="the recipe sets no validation rows aside",
                fix="set val_set_size: 0.05, or test_datasets",
            )
        )
    device = this_device()
    model, tokenizer = load_trained(config, folder, device=device)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            use_cpu=device == "cpu",
            per_device_eval_batch_size=config.eval_batch_size or config.micro_batch_size or 1,
            report_to="none",
            disable_tqdm=True,
        )
        from transformers.trainer_callback import PrinterCallback

        trainer = Trainer(
            model=model,
            args=arguments,
            eval_dataset=prepared.validation,
            data_collator=collator_for(config, tokenizer),
            processing_class=tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        metrics = trainer.evaluate()
    loss = float(metrics["eval_loss"])
    return Evaluation(
        path=folder, rows=len(prepared.validation), loss=loss, perplexity=math.exp(min(loss, 700.0)), seconds=float(metrics["eval_runtime"])
    )
