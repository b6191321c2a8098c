"""The Trainer of a run: Hugging Face's, with every loss kept, checkpoints sealed, and stops answered at step boundaries."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerState, set_seed

from runtime.model.adapter import load_adapter_weights, save_adapter
from runtime.model.rows import hold
from runtime.training.boundary import StepBoundary, Wish, agreed, request_end
from runtime.training.cadence import Cadence
from runtime.training.ledger import LossLedger, count_tokens
from runtime.training.losses.teacher import TEACHER_COLUMNS, taken_from
from runtime.training.optimizer import parameter_groups
from runtime.training.order import EpochOrder
from runtime.training.relora import load_base, save_base
from runtime.training.schedule import curve_of, library_curve
from runtime.training.session import SESSION, Session
from runtime.training.sharding.trainer import ShardingTrainer
from runtime.training.sharding.weights import read_adapter, read_weights


class EvaluationStopped(Exception):  # noqa: N818 - a request, not an error
    """A stop request reached the run inside an evaluation."""


class RunTrainer(ShardingTrainer):
    """Hugging Face's Trainer inside a run. `session` holds what belongs to the run."""

    def __init__(self, *, session: Session, **kwargs: Any) -> None:
        self.session = session
        self._order: EpochOrder | None = None
        # Micro batches that took the place of one.
        self._finer = 1
        self._checkpointing = False
        super().__init__(**kwargs)
        self.ledger = LossLedger(reduce=session.rank.reduce, memory_gib=peak_memory_gib)
        self.add_callback(StepBoundary(self))

    def _build_accelerator_args(self, **kwargs: Any) -> dict[str, Any]:
        settings = super()._build_accelerator_args(**kwargs)
        # The Trainer's arguments have no place for these.
        for name, value in self.session.compiler.items():
            setattr(settings["dynamo_plugin"], name, value)
        return settings

    # The step

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """The loss of one micro batch, which is also entered into the ledger."""
        tokens = count_tokens(inputs, getattr(self.processing_class, "pad_token_id", None))
        with self.session.offloading:
            loss = super().training_step(model, inputs, num_items_in_batch)
        self.ledger.add(loss, tokens.to(loss.device))
        return loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """The recipe's loss where it has one of its own, the model's otherwise. It is computed inside the model's forward pass either way."""
        own = self.session.loss
        if own is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inputs = dict(inputs)
        teacher = taken_from(inputs)
        if teacher is None and self.session.teacher is not None and model.training:
            teacher = self.session.teacher.say(inputs)
        with own.computing(
            self.accelerator.unwrap_model(self.model), teacher=teacher, progress=self.state.global_step / max(1, self.state.max_steps)
        ):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        # The model does not take them, but its loss does.
        self._signature_columns += [name for name in TEACHER_COLUMNS if name not in self._signature_columns]

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The recipe's optimizer; parameters are grouped by learning rate when the recipe has more than one."""
        target = self.model if model is None else model
        new = self.optimizer is None
        if self.optimizer is None:
            self.optimizer = self.session.hooks.optimizer(self)
        own = self.session.optimizer
        if self.optimizer is None and (own is not None or not self.session.rates.uniform):
            groups = parameter_groups(
                target, self.session.rates, weight_decay=self.args.weight_decay, decayed=set(self.get_decay_parameter_names(target))
            )
            if own is not None:
                self.optimizer = own.over(groups, target)
            else:
                kind, settings = self.get_optimizer_cls_and_kwargs(self.args, target)
                self.optimizer = kind(groups, **settings)
        made = super().create_optimizer(model)
        if new:
            hold(made, self.session.frozen_rows)
        return made

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """The recipe's schedule: transformers', or a pure function of the step, so that the checkpoint's step is all it takes to go on."""
        schedule, args = self.session.schedule, self.args
        if self.lr_scheduler is None:
            self.lr_scheduler = self.session.hooks.schedule(self, self.optimizer if optimizer is None else optimizer, num_training_steps)
        if self.lr_scheduler is None and not schedule.of_transformers:
            warmup = args.get_warmup_steps(num_training_steps)

            def library() -> Any:
                return library_curve(
                    args.lr_scheduler_type, args.lr_scheduler_kwargs, peak=args.learning_rate, warmup=warmup, total=num_training_steps
                )

            curve = curve_of(schedule, library, warmup=warmup, total=num_training_steps)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer if optimizer is None else optimizer, curve)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        strategy = self.args.train_sampling_strategy
        if strategy not in ("random", "group_by_length"):
            return super()._get_train_sampler(train_dataset)
        grouped = strategy == "group_by_length"
        lengths = [len(ids) for ids in rows["input_ids"]] if grouped else None
        group = self.session.cadence.length_group or self.args.train_batch_size * self.args.gradient_accumulation_steps
        self._order = EpochOrder(len(rows), seed=self.args.seed, lengths=lengths, group=group)
        return self._order

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None) -> tuple[Any, Any]:
        model, train_dataloader = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        if self.session.probe is not None:
            cadence = self.session.probe.settle(self, model)
            if cadence is not self.session.cadence:
                train_dataloader = self._lower(cadence, train_dataloader)
        return model, train_dataloader

    def _lower(self, cadence: Cadence, loader: Any) -> Any:
        """The loader to use from here on in place of `loader`: of smaller micro batches, of which a step has more."""
        args = self.args
        self._finer = cadence.gradient_accumulation_steps // args.gradient_accumulation_steps
        args.per_device_train_batch_size, args.gradient_accumulation_steps = cadence.micro_batch_size, cadence.gradient_accumulation_steps
        args.per_device_eval_batch_size = min(args.per_device_eval_batch_size, cadence.micro_batch_size)
        self._train_batch_size = self.state.train_batch_size = args.train_batch_size
        self.session.cadence = cadence
        self.accelerator._dataloaders.remove(loader)
        self.callback_handler.train_dataloader = self.get_train_dataloader()
        return self.callback_handler.train_dataloader

    def _run_epoch(self, *args: Any, epoch: int, **kwargs: Any) -> None:
        if self._order is not None:
            self._order.enter(epoch)
        if self._finer > 1:
            # Counted before the micro batch was lowered.
            kwargs["steps_in_epoch"] = len(kwargs["train_dataloader"])
            kwargs["steps_trained_in_current_epoch"] *= self._finer
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
            request_end(self)
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
        if self.is_in_train and agreed(self.session, self.args.device) is Wish.STOP:
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

    # Checkpoints

    def _save_checkpoint(self, model: Any, trial: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        session, step = self.session, self.state.global_step
        self._read_losses()
        self.store_flos()
        resume_clock = self.ledger.pause()
        if session.ending is not None and session.ending.what == "weights":
            session.saver.save_weights(step, self._write_weights)
        else:
            sends = session.ending is None or session.ending.sends
            keep = self.state.best_global_step if session.load_best else None
            # What is written last is needed.
            bears = session.ending is None and not self.control.should_training_stop
            session.saver.save(step, self._write_checkpoint, keep=keep, sends=sends, bears=bears)
        resume_clock()

    def _write_checkpoint(self, folder: Path) -> None:
        # Shards are gathered while they are written: who has failed may not leave the others alone with the next ones.
        in_turn = self.session.rank.together if self.session.sharding is not None else _at_once
        in_turn(lambda: self._write_model(folder))
        if not self.args.save_only_model:
            in_turn(lambda: self._save_optimizer_and_scheduler(str(folder)))
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))
        if self.args.should_save:
            self.state.best_model_checkpoint = None
            self.state.save_to_json(str(folder / "trainer_state.json"))
            for keep in self.session.keeps:
                keep(folder)
            (folder / SESSION).write_text(json.dumps(self.session.dump()), encoding="utf-8")

    def _write_model(self, folder: Path) -> None:
        self._checkpointing = True
        try:
            self.save_model(str(folder), _internal_call=True)
        finally:
            self._checkpointing = False

    def _write_weights(self, folder: Path) -> None:
        # The run ends here, so nothing has to be able to go on from the weights that are shown.
        self.show_weights()
        self.save_model(str(folder), _internal_call=True)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # The Trainer would also pickle its arguments into every checkpoint; config.yml says the same and cannot run code.
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        model = self.bare_model
        if hasattr(model, "peft_config"):
            save_adapter(model, folder, state_dict=state_dict)
            if self.session.relora is not None:
                save_base(model, folder)
        else:
            # The names that experts have on the Hub are not those of the model's own tensors, which a checkpoint is read back by.
            model.save_pretrained(folder, state_dict=state_dict, save_original_format=not self._checkpointing)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        target, folder = self.model if model is None else model, Path(resume_from_checkpoint)
        if hasattr(target, "peft_config"):
            if self.session.relora is not None:
                load_base(target, folder)
            (read_adapter if self.is_sharded else load_adapter_weights)(target, folder)
        else:
            read_weights(target, folder)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        rank = self.session.rank
        own = "rng_state.pth" if rank.world_size == 1 else f"rng_state_{rank.index}.pth"
        if checkpoint is not None and not (Path(checkpoint) / own).is_file():
            # Made by another number of processes. Whatever is drawn from here on depends on the seed, the step and the process, and on nothing else.
            set_seed((self.args.seed * 1_000_003 + self.state.global_step * 4_099 + rank.index) % 2**32)
            return
        super()._load_rng_state(checkpoint)

    def load_weights(self, checkpoint: Path) -> None:
        """Replace the present weights by those of a sealed checkpoint, the ones to use where an optimizer trains others."""
        self._load_from_checkpoint(str(checkpoint), self.model)
        if self.trains_other_weights and (checkpoint / "optimizer.pt").is_file():
            self.create_optimizer()
            self.optimizer.load_state_dict(torch.load(checkpoint / "optimizer.pt", map_location="cpu", weights_only=True))
            self.show_weights()

    @property
    def trains_other_weights(self) -> bool:
        """Whether the optimizer trains weights from which those to use are computed, as schedule-free ones do."""
        return str(self.args.optim).rpartition(".")[2].lower().startswith("schedule_free")

    def show_weights(self) -> None:
        """Put the weights to use in place of those that train; training cannot go on bit for bit from there."""
        if self.trains_other_weights and self.optimizer is not None:
            self.optimizer.eval()

    def save_final(self, folder: Path) -> None:
        """Write the model to use into `folder`, and spend the trainer: an adapter whose base has changed is merged into it for good."""
        self.show_weights()
        if self.session.sharding is not None and not hasattr(self.model, "peft_config"):
            self.save_whole(folder)
            return
        if self.session.relora is None or not self.args.should_save:
            self.save_model(str(folder), _internal_call=True)
            return
        merged = self.bare_model.merge_and_unload(safe_merge=True)
        merged.save_pretrained(folder)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def take_up(self, checkpoint: Path) -> None:
        """Stand where a sealed checkpoint stands, without training: its weights and state, and the evaluation it still owes."""
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        evaluates = self.session.evaluation_due == self.state.global_step and self.eval_dataset is not None
        if evaluates and self.session.sharding is not None:
            # A whole model may not fit where it is evaluated.
            self._prepare_for_training(self.state.max_steps, self.get_train_dataloader(), None)
        self.load_weights(checkpoint)
        if evaluates:
            self.evaluate_now()


def peak_memory_gib() -> float:
    """Most memory this process has held so far, GiB: the allocator's peak on a GPU, the resident set on a CPU."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**30
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _at_once(work: Callable[[], None]) -> None:
    work()


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
