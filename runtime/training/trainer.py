"""The Trainer of a run: Hugging Face's, with every loss kept, checkpoints sealed, and stops answered at step boundaries."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainerState

from runtime.events import EventLog
from runtime.model.adapter import load_adapter_weights, save_adapter
from runtime.training.cadence import Cadence
from runtime.training.chaos import Chaos, kill_after, kill_now
from runtime.training.health import Improvement, LossWatch, Sweep
from runtime.training.ledger import LossLedger, count_tokens
from runtime.training.optimizer import Rates, parameter_groups
from runtime.training.order import EpochOrder
from runtime.training.processes import Rank
from runtime.training.progress import Progress
from runtime.training.saving import Saver
from runtime.training.stop import Notice, StopRequest

SESSION = "session.json"


class EvaluationStopped(Exception):  # noqa: N818 - a request, not an error
    """A stop request reached the run inside an evaluation."""


@dataclass(kw_only=True)
class Session:
    """What a run carries besides Hugging Face's trainer state. All of it is in every checkpoint, except what is given anew at each start."""

    cadence: Cadence
    rank: Rank
    rates: Rates
    saver: Saver
    stop: StopRequest
    chaos: Chaos
    progress: Progress
    events: EventLog | None
    notice_file: Path | None = None
    watch: LossWatch = field(default_factory=LossWatch)
    improvement: Improvement = field(default_factory=Improvement)
    sweep: Sweep = field(default_factory=Sweep)
    load_best: bool = False
    evaluation_due: int | None = None
    ended: bool = False
    stopped: Notice | None = None
    reaper: Timer | None = None
    final_loss: float | None = None
    eval_loss: float | None = None

    def emit(self, kind: str, step: int | None = None, **fields: Any) -> None:
        """Append an event, on the one process that writes."""
        if self.events is not None:
            self.events.append(kind, step, **fields)

    def dump(self) -> dict[str, Any]:
        """The part that a checkpoint keeps."""
        return {
            "evaluation_due": self.evaluation_due,
            "ended": self.ended,
            "without_improvement": self.improvement.without,
            "high_losses": self.watch.high_in_a_row,
            "final_loss": self.final_loss,
            "eval_loss": self.eval_loss,
        }

    def load(self, folder: Path) -> None:
        """Take up what the checkpoint in `folder` kept."""
        file = folder / SESSION
        if not file.is_file():
            return
        kept = json.loads(file.read_text(encoding="utf-8"))
        self.evaluation_due, self.ended = kept["evaluation_due"], kept["ended"]
        self.improvement.without = kept["without_improvement"]
        self.watch.high_in_a_row = kept["high_losses"]
        self.final_loss, self.eval_loss = kept["final_loss"], kept["eval_loss"]


class RunTrainer(Trainer):
    """Hugging Face's Trainer inside a run. `session` holds what belongs to the run."""

    def __init__(self, *, session: Session, **kwargs: Any) -> None:
        self.session = session
        self._order: EpochOrder | None = None
        super().__init__(**kwargs)
        self.ledger = LossLedger(reduce=session.rank.reduce, memory_gib=peak_memory_gib)
        self.add_callback(_StepBoundary(self))

    # The step

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """The loss of one micro batch, which is also entered into the ledger."""
        tokens = count_tokens(inputs, getattr(self.processing_class, "pad_token_id", None))
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.ledger.add(loss, tokens.to(loss.device))
        return loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The recipe's optimizer; parameters are grouped by learning rate when the recipe has more than one."""
        target = self.model if model is None else model
        if self.optimizer is None and not self.session.rates.uniform:
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, target)
            groups = parameter_groups(
                target, self.session.rates, weight_decay=self.args.weight_decay, decayed=set(self.get_decay_parameter_names(target))
            )
            self.optimizer = kind(groups, **settings)
        return super().create_optimizer(model)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        strategy = self.args.train_sampling_strategy
        if strategy not in ("random", "group_by_length"):
            return super()._get_train_sampler(train_dataset)
        grouped = strategy == "group_by_length"
        lengths = [len(ids) for ids in rows["input_ids"]] if grouped else None
        group = self.args.train_batch_size * self.args.gradient_accumulation_steps
        self._order = EpochOrder(len(rows), seed=self.args.seed, lengths=lengths, group=group)
        return self._order

    def _run_epoch(self, *args: Any, epoch: int, **kwargs: Any) -> None:
        if self._order is not None:
            self._order.enter(epoch)
        super()._run_epoch(*args, epoch=epoch, **kwargs)

    def _maybe_log_save_evaluate(
        self,
        tr_loss: Any,
        grad_norm: Any,
        model: Any,
        trial: Any,
        epoch: float,
        ignore_keys_for_eval: Any,
        start_time: float,
        learning_rate: float | None = None,
    ) -> None:
        control, step = self.control, self.state.global_step
        if self.ledger.has_open:
            rate = learning_rate if learning_rate is not None else self._get_learning_rate()
            self.ledger.close(step=step, epoch=self.state.epoch, grad_norm=grad_norm, learning_rate=rate)
        if control.should_log or control.should_save or control.should_evaluate or control.should_training_stop:
            self._read_losses()
        # The Trainer only logs here: evaluation can be cut short by a stop, and what follows it differs then.
        evaluates, saves = control.should_evaluate, control.should_save
        control.should_evaluate = control.should_save = False
        super()._maybe_log_save_evaluate(
            tr_loss, grad_norm, model, trial, epoch, ignore_keys_for_eval, start_time, learning_rate=learning_rate
        )
        self.control.should_save = saves
        if evaluates:
            self.evaluate_now()
        if self.control.should_save:
            self._save_checkpoint(model, trial)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def evaluate_now(self) -> None:
        """Evaluate, and note whether this is the best so far; a stop request leaves the evaluation to whoever resumes."""
        try:
            metrics = self._evaluate(None, None)
        except EvaluationStopped:
            self.session.evaluation_due = self.state.global_step
            self.request_end(self.session.rank.share(self.session.stop.why(self.session.notice_file)))
        else:
            self._determine_best_metric(metrics, None)

    def _read_losses(self) -> None:
        session = self.session
        records = self.ledger.flush()
        for record in records:
            session.emit("loss", record.step, **{key: value for key, value in asdict(record).items() if key != "step"})
        if records:
            session.final_loss = records[-1].loss
            session.progress.steps(records, total=session.cadence.total_steps, logs=self.control.should_log)
        session.watch.see(records)

    # Evaluation

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        session, step = self.session, self.state.global_step
        resume_clock = self.ledger.pause()
        session.emit("stage", step, name="evaluate")
        try:
            with _untouched_randomness():
                metrics = super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)
        finally:
            resume_clock()
        shown = {key.removeprefix("eval_"): value for key, value in metrics.items()}
        session.emit("eval", step, **shown)
        session.progress.evaluated(step, shown)
        session.evaluation_due = None
        session.eval_loss = shown.get("loss")
        return metrics

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """One evaluation batch; a stop request ends the evaluation here."""
        if self.is_in_train and self.stop_agreed():
            raise EvaluationStopped
        return super().prediction_step(*args, **kwargs)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        best = super()._determine_best_metric(metrics, trial)
        if best:
            self.state.best_global_step = self.state.global_step
            self.control.should_save = self.control.should_save or self.session.cadence.save_best
        if self.session.improvement.see(best):
            self.session.progress.say(f"no better evaluation for {self.session.improvement.without} times: stopping early")
            self.session.ended = True
            self.control.should_training_stop = self.control.should_save = True
        return best

    def stop_agreed(self) -> bool:
        """Whether any process of the run was asked to stop; the answer is the same on all of them."""
        session = self.session
        if session.rank.world_size == 1:
            return session.stop.requested
        flag = torch.tensor([int(session.stop.requested)], device=self.args.device)
        return bool(session.rank.reduce(flag, "max").item())

    # Checkpoints

    def _save_checkpoint(self, model: Any, trial: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        self._read_losses()
        self.store_flos()
        resume_clock = self.ledger.pause()
        self.session.saver.save(
            self.state.global_step, self._write_checkpoint, keep=self.state.best_global_step if self.session.load_best else None
        )
        resume_clock()

    def _write_checkpoint(self, folder: Path) -> None:
        self.save_model(str(folder), _internal_call=True)
        if not self.args.save_only_model:
            self._save_optimizer_and_scheduler(str(folder))
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))
        if self.args.should_save:
            self.state.best_model_checkpoint = None
            self.state.save_to_json(str(folder / "trainer_state.json"))
            (folder / SESSION).write_text(json.dumps(self.session.dump()), encoding="utf-8")

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # The Trainer would also pickle its arguments into every checkpoint; config.yml says the same and cannot run code.
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if hasattr(model, "peft_config"):
            save_adapter(model, folder, state_dict=state_dict)
        else:
            model.save_pretrained(folder, state_dict=state_dict)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        target = self.model if model is None else model
        if hasattr(target, "peft_config") and not self.is_fsdp_enabled:
            load_adapter_weights(target, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def load_weights(self, checkpoint: Path) -> None:
        """Replace the present weights by those of a sealed checkpoint."""
        self._load_from_checkpoint(str(checkpoint), self.model)

    def take_up(self, checkpoint: Path) -> None:
        """Stand where a sealed checkpoint stands, without training: its weights and state, and the evaluation it still owes."""
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self.load_weights(checkpoint)
        if self.session.evaluation_due == self.state.global_step and self.eval_dataset is not None:
            self.evaluate_now()

    def request_end(self, notice: Notice) -> None:
        """End training after this step and remember why; seals unless the time left is shorter than a save takes."""
        session, step = self.session, self.state.global_step
        session.stopped = notice
        left = notice.left_s(session.saver.now())
        if self.control.should_evaluate:
            self.control.should_evaluate, session.evaluation_due = False, step
        enough = session.rank.share(left is None or left > session.saver.last_save_s)
        self.control.should_save = enough
        self.control.should_training_stop = True
        if notice.kind == "preempt":
            session.emit("preempted", step, deadline_s=None if left is None else round(left, 3), reason=notice.reason)
        if not enough:
            session.progress.say(
                f"{left:.1f} s are left and a save takes {session.saver.last_save_s:.1f} s: keeping the last sealed checkpoint"
            )


class _StepBoundary(TrainerCallback):
    """What happens between two optimizer steps: planned deaths, stops, and the beat of saving."""

    def __init__(self, trainer: RunTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Decide what follows optimizer step `state.global_step`."""
        trainer, session, step = self._trainer, self._trainer.session, state.global_step
        blow = session.chaos.due(step)
        if blow is not None:
            session.chaos.strike(blow, writes=session.rank.is_main)
            session.rank.barrier()
            session.progress.say(f"chaos: {blow.text}")
            if blow.kind == "kill":
                kill_now()
            session.stop.ask(Notice(kind="preempt", deadline_at=session.saver.now() + blow.deadline_s, reason=f"chaos {blow.text}"))
            session.reaper = kill_after(blow.deadline_s)
        last = step >= state.max_steps
        session.sweep.after_step(step, evaluates=control.should_evaluate, epoch_ends=step % session.cadence.steps_per_epoch == 0)
        control.should_save = session.cadence.saves_at(step) or (last and session.cadence.save_steps > 0)
        if not last and trainer.stop_agreed():
            trainer.request_end(session.rank.share(session.stop.why(session.notice_file)))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Make up for an evaluation that a stop left out."""
        trainer, session = self._trainer, self._trainer.session
        session.stop.deferred = True
        if session.evaluation_due is not None and session.evaluation_due == state.global_step and trainer.eval_dataset is not None:
            trainer.evaluate_now()
            control.should_save = False

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Training is over, the model is not saved yet."""
        self._trainer.ledger.discard_open()


def peak_memory_gib() -> float:
    """Most memory this process has held so far, GiB: the allocator's peak on a GPU, the resident set on a CPU."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**30
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


@contextmanager
def _untouched_randomness() -> Iterator[None]:
    """Run a block without moving the random state that training draws from: an evaluation more or less must not change the weights."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
