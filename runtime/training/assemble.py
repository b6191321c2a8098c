"""Putting a run's trainer together: model, adapter, arguments, and what watches over them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.model.adapter import adapter_state, changes_base, with_adapter
from runtime.model.load import load_model, seed_of, unfreeze_only
from runtime.model.origin import Origin, origin_of
from runtime.model.precision import Precision, choose_precision
from runtime.training.arguments import training_arguments
from runtime.training.cadence import Cadence
from runtime.training.chaos import Chaos, parse_chaos
from runtime.training.health import Improvement, LossWatch, Sweep
from runtime.training.job import Job
from runtime.training.optimizer import rates_of
from runtime.training.trainer import RunTrainer, Session

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from runtime.data.prepare import Prepared
    from runtime.training.saving import Saver


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """The model that learns. `origin` says what its adapter was trained over; `initial` is the adapter before training where its start changed the base."""

    model: PreTrainedModel
    origin: Origin | None = None
    initial: dict[str, torch.Tensor] | None = None


def load_learner(config: Any, tokenizer: PreTrainedTokenizerBase, *, precision: Precision, device: str) -> Learner:
    """The base model, its adapter if the recipe has one, and which of its parameters learn. The same on every process and at every start."""
    import numpy as np
    import torch

    random.seed(seed_of(config))
    np.random.seed(seed_of(config))
    torch.manual_seed(seed_of(config))
    model = load_model(config, tokenizer, precision=precision, device=device)
    if not config.adapter:
        if config.unfrozen_parameters:
            unfreeze_only(model, config.unfrozen_parameters)
        return Learner(model=model)
    origin = origin_of(model, config)
    torch.manual_seed(seed_of(config))
    adapted = with_adapter(model, config)
    return Learner(model=adapted, origin=origin, initial=adapter_state(adapted) if changes_base(adapted) else None)


def machine_precision(config: Any) -> Precision:
    """The recipe's precision on this machine."""
    import torch

    cuda = torch.cuda.is_available()
    return choose_precision(config, cuda=cuda, bf16_supported=cuda and torch.cuda.is_bf16_supported())


def assemble(
    job: Job,
    learner: Learner,
    tokenizer: PreTrainedTokenizerBase,
    prepared: Prepared,
    cadence: Cadence,
    *,
    precision: Precision,
    saver: Saver,
    cuda: bool,
    fresh: bool,
) -> RunTrainer:
    """The trainer of this process, ready to start or to go on."""
    from transformers.trainer_callback import PrinterCallback

    from runtime.data.collate import collator_for

    config = job.config
    # An evaluation before the first step belongs to a beginning, not to a resumption.
    arguments = training_arguments(config, cadence, precision, scratch=job.folder.checkpoints, cuda=cuda)
    arguments.eval_on_start = bool(arguments.eval_on_start) and fresh and cadence.eval_steps > 0
    session = Session(
        cadence=cadence,
        rank=job.rank,
        rates=rates_of(config),
        saver=saver,
        stop=job.stop,
        chaos=Chaos(parse_chaos(job.surroundings.chaos), job.folder.chaos),
        progress=job.progress,
        events=job.events,
        notice_file=job.surroundings.notice,
        watch=LossWatch(threshold=config.loss_watchdog_threshold, patience=config.loss_watchdog_patience or 3),
        sweep=Sweep(config.gc_steps or 0),
        improvement=Improvement(patience=config.early_stopping_patience),
        load_best=bool(config.load_best_model_at_end) and cadence.eval_steps > 0,
    )
    trainer = RunTrainer(
        session=session,
        model=learner.model,
        args=arguments,
        train_dataset=prepared.train,
        eval_dataset=prepared.validation if cadence.eval_steps else None,
        data_collator=collator_for(config, tokenizer),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
