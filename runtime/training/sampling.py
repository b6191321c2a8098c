"""Answers at every evaluation: samples for people, a table for the tracker, and scores against what the data expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from runtime.model.load import seed_of
from runtime.training.answers import Answer, Question, Writing, questions, write_answers
from runtime.training.boundary import Wish, agreed
from runtime.training.scores import Scores
from runtime.training.tables import send_table
from runtime.training.trainer import EvaluationStopped

if TYPE_CHECKING:
    from runtime.training.trainer import RunTrainer

# As the reference does: short, and with some variety.
_SAMPLES, _SAMPLE_TOKENS, _TEMPERATURE = 3, 50, 0.7
_TABLE_TOKENS = 128
_COLUMNS = ("prompt", "expected", "answer")
_SHOWN = 300


class Sampling(TrainerCallback):
    """Has the model write at the end of every evaluation.

    Evaluations run with the random state put aside, so an answer more or less changes no weight; what is drawn here follows from the seed and the step. A stop
    request ends the writing like any evaluation: whoever resumes evaluates again.
    """

    def __init__(self, trainer: RunTrainer, config: Any) -> None:
        self._trainer = trainer
        self._batch = int(config.eval_batch_size or config.micro_batch_size or 1)
        self._seed = seed_of(config)
        rows = trainer.eval_dataset
        self._samples = (
            questions(rows, config.num_generation_samples or _SAMPLES, ratio=config.generation_prompt_ratio)
            if config.generate_samples
            else []
        )
        self._sample_writing = sample_writing(config)
        self._table = questions(rows, config.eval_table_size) if config.eval_table_size else []
        self._scored = questions(rows, None) if config.do_causal_lm_eval else []
        self._table_writing = Writing(max_new_tokens=config.eval_max_new_tokens or _TABLE_TOKENS)
        self._scores = Scores.of(config) if config.do_causal_lm_eval else None

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Write, show, score and record."""
        session, step, metrics = self._trainer.session, state.global_step, kwargs["metrics"]
        if self._samples:
            written = self._write(kwargs["model"], self._samples, self._sample_writing, step)
            session.emit("samples", step, samples=[asdict(answer) for answer in written])
            session.progress.table(f"step {step:,}: {len(written)} sample answers", _COLUMNS, [_shortened(answer) for answer in written])
        scored = self._write(kwargs["model"], self._scored, self._table_writing, step)
        if self._scores is not None:
            found = {f"eval_{name}": value for name, value in self._scores.of_answers(scored, loss=metrics.get("eval_loss")).items()}
            metrics.update(found)
            self._trainer.log(dict(found))
            session.progress.say(
                f"step {step:,}: " + ", ".join(f"{name.removeprefix('eval_')} {value:.4g}" for name, value in found.items())
            )
        if self._table:
            # The first answers of a scored evaluation are the same ones.
            shown = scored[: len(self._table)] if scored else self._write(kwargs["model"], self._table, self._table_writing, step)
            session.emit("predictions", step, predictions=[asdict(answer) for answer in shown])
            if session.rank.is_main:
                send_table(self._trainer, "eval_predictions", step, _COLUMNS, [list(asdict(answer).values()) for answer in shown])

    def _write(self, model: Any, asked: Sequence[Question], writing: Writing, step: int) -> list[Answer]:
        if not asked:
            return []
        trainer = self._trainer
        with trainer.accelerator.autocast():
            return write_answers(
                model,
                trainer.processing_class,
                asked,
                writing,
                batch=self._batch,
                rank=trainer.session.rank,
                seed=(self._seed * 1_000_003 + step) % 2**63,
                spread=trainer.is_sharded,
                before_batch=self._answer_stops,
            )

    def _answer_stops(self) -> None:
        if self._trainer.is_in_train and agreed(self._trainer.session, self._trainer.args.device) is Wish.STOP:
            raise EvaluationStopped


def sample_writing(config: Any) -> Writing:
    """How the samples of `generate_samples` are written: 50 tokens drawn at temperature 0.7, unless the recipe says otherwise."""
    temperature = _TEMPERATURE if config.generation_temperature is None else float(config.generation_temperature)
    return Writing(
        max_new_tokens=config.generation_max_new_tokens or _SAMPLE_TOKENS,
        # A temperature of 0 means the likeliest token, which is not a division by it.
        do_sample=config.generation_do_sample is not False and temperature > 0,
        temperature=temperature,
        top_p=config.generation_top_p,
        top_k=config.generation_top_k,
    )


def sampling(config: Any, trainer: RunTrainer) -> Sampling | None:
    """What writes at evaluations, None when the recipe asks for nothing of it or nothing is evaluated."""
    wanted = config.generate_samples or config.eval_table_size or config.do_causal_lm_eval
    return Sampling(trainer, config) if wanted and trainer.eval_dataset is not None else None


def _shortened(answer: Answer) -> tuple[str, str, str]:
    # A prompt ends with the question, an answer begins with its point.
    prompt, expected, written = (" ".join(text.split()) for text in (answer.prompt, answer.expected, answer.answer))
    return (
        prompt if len(prompt) <= _SHOWN else "… " + prompt[-_SHOWN:],
        expected if len(expected) <= _SHOWN else expected[:_SHOWN] + " …",
        written if len(written) <= _SHOWN else written[:_SHOWN] + " …",
    )
