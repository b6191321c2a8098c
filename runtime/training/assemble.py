"""Putting a run's trainer together: model, adapter, arguments, and what watches over them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.config.beat import preemption_hours
from runtime.model.adapter import adapter_state, changes_base, with_adapter
from runtime.model.attention import compile_flex
from runtime.model.liger import apply_liger
from runtime.model.load import load_model, seed_of, unfreeze_only
from runtime.model.norms import raise_norms
from runtime.model.origin import Origin, origin_of
from runtime.model.precision import Precision
from runtime.model.rows import FrozenRows
from runtime.model.tiled_mlp import tile_mlps
from runtime.plugins.hooks import hooks_of
from runtime.training import activations
from runtime.training.arguments import training_arguments
from runtime.training.cadence import Cadence
from runtime.training.chaos import Chaos, parse_chaos
from runtime.training.compiling import compiler_settings
from runtime.training.grokfast import grokfast_of
from runtime.training.health import Improvement, LossWatch, Sweep
from runtime.training.interval import SaveBeat
from runtime.training.job import Job
from runtime.training.losses.choice import loss_of
from runtime.training.optimizer import rates_of
from runtime.training.optimizers.named import named_optimizer
from runtime.training.optimizers.packages import allow_state
from runtime.training.probe import probe_of
from runtime.training.processes import Rank
from runtime.training.relora import check_layers, relora_of
from runtime.training.schedule import schedule_of
from runtime.training.session import Session
from runtime.training.sharding.loading import match_first, reads_base
from runtime.training.sharding.settings import Sharding
from runtime.training.swanlab import swanlab_of
from runtime.training.trainer import RunTrainer
from runtime.training.trainer_class import trainer_class
from runtime.training.watchers import watchers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from runtime.data.prepare import Prepared
    from runtime.training.losses.server import TeacherServer
    from runtime.training.saving import Saver


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """The model that learns. `origin` says what its adapter was trained over; `initial` is the adapter before training where its start changed the base;
    `frozen_rows` are rows of trained parameters that stay as they are."""

    model: PreTrainedModel
    origin: Origin | None = None
    initial: dict[str, torch.Tensor] | None = None
    frozen_rows: tuple[FrozenRows, ...] = ()


def load_learner(
    config: Any,
    tokenizer: PreTrainedTokenizerBase,
    *,
    precision: Precision,
    device: str,
    sharding: Sharding | None = None,
    rank: Rank | None = None,
) -> Learner:
    """The base model, its adapter if the recipe has one, and which of its parameters learn. The same on every process and at every start.

    A model that will be sharded is loaded in host memory: whole, it may not fit on one device. Only 4-bit weights are packed where they compute.
    """
    rank = rank or Rank()
    learner = _load_learner(config, tokenizer, precision=precision, device=device, sharding=sharding, rank=rank)
    match_first(learner.model, sharding, rank, mixed=precision.bf16 or precision.fp16)
    return learner


def _load_learner(
    config: Any, tokenizer: PreTrainedTokenizerBase, *, precision: Precision, device: str, sharding: Sharding | None, rank: Rank
) -> Learner:
    import numpy as np
    import torch

    hooks = hooks_of(config)
    apply_liger(config)
    random.seed(seed_of(config))
    np.random.seed(seed_of(config))
    torch.manual_seed(seed_of(config))
    on_host = sharding is not None and not config.load_in_4bit
    model = load_model(config, tokenizer, precision=precision, device=device, on_host=on_host, empty=not reads_base(sharding, rank))
    compile_flex(config, model.config._attn_implementation)
    if not config.adapter:
        raise_norms(model, config)
        tile_mlps(model, config)
        rows = unfreeze_only(model, config.unfrozen_parameters) if config.unfrozen_parameters else ()
        hooks.tell("post_model_load", model)
        return Learner(model=model, frozen_rows=rows)
    origin = origin_of(model, config)
    raise_norms(model, config)
    tile_mlps(model, config)
    hooks.tell("pre_lora_load", model)
    torch.manual_seed(seed_of(config))
    adapted = with_adapter(model, config)
    if config.relora:
        check_layers(adapted)
    hooks.tell("post_lora_load", adapted)
    hooks.tell("post_model_load", adapted)
    return Learner(model=adapted, origin=origin, initial=adapter_state(adapted) if changes_base(adapted) else None)


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
    sharding: Sharding | None = None,
) -> RunTrainer:
    """The trainer of this process, ready to start or to go on."""
    from transformers.trainer_callback import PrinterCallback

    from runtime.data.collate import collator_for

    config = job.config
    allow_state(config)
    hooks = hooks_of(config)
    # An evaluation before the first step belongs to a beginning, not to a resumption.
    arguments = training_arguments(config, cadence, precision, scratch=job.folder.checkpoints, cuda=cuda, sharding=sharding)
    arguments.eval_on_start = bool(arguments.eval_on_start) and fresh and cadence.eval_steps > 0
    scratch = job.folder.path / activations.FOLDER / f"rank-{job.rank.index}"
    activations.clear(scratch)
    activations.shape_checkpointing(learner.model, config, scratch=scratch)
    session = Session(
        cadence=cadence,
        rank=job.rank,
        rates=rates_of(config),
        optimizer=named_optimizer(config),
        schedule=schedule_of(config),
        relora=relora_of(config),
        frozen_rows=learner.frozen_rows,
        sharding=sharding,
        loss=loss_of(config),
        teacher=_online_teacher(config, learner.model),
        probe=probe_of(job, cuda=cuda, sharded=sharding is not None),
        compiler=compiler_settings(config),
        offloading=activations.offloading(learner.model, config),
        hooks=hooks,
        saver=saver,
        stop=job.stop,
        chaos=Chaos(parse_chaos(job.surroundings.chaos), job.folder.chaos),
        beat=_beat(job),
        progress=job.progress,
        events=job.events,
        notice_file=job.surroundings.notice,
        watch=LossWatch(threshold=config.loss_watchdog_threshold, patience=config.loss_watchdog_patience or 3),
        sweep=Sweep(config.gc_steps or 0, python=config.gc_collect_steps or 0),
        improvement=Improvement(patience=config.early_stopping_patience),
        load_best=bool(config.load_best_model_at_end) and cadence.eval_steps > 0,
    )
    trainer = trainer_class(config)(
        session=session,
        model=learner.model,
        args=arguments,
        train_dataset=prepared.train,
        eval_dataset=prepared.validation if cadence.eval_steps else None,
        data_collator=collator_for(config, tokenizer),
        processing_class=tokenizer,
        callbacks=hooks.callbacks("add_callbacks_pre_trainer", learner.model),
    )
    trainer.remove_callback(PrinterCallback)
    for callback in watchers(config, trainer, job.folder.path, cuda=cuda):
        trainer.add_callback(callback)
    tracker = swanlab_of(config, job.folder.path)
    if tracker is not None:
        trainer.add_callback(tracker)
    if job.events is not None:
        session.keeps.append(job.events.keep_tail)
    grokfast = grokfast_of(config)
    if grokfast is not None:
        trainer.add_callback(grokfast)
        session.keeps.append(grokfast.keep)
        session.takes_up.append(grokfast.take_up)
    hooks.tell("post_trainer_create", trainer)
    for callback in hooks.callbacks("add_callbacks_post_trainer", trainer):
        trainer.add_callback(callback)
    return trainer


def _beat(job: Job) -> SaveBeat | None:
    hours = preemption_hours(job.config, job.surroundings.notices)
    return None if hours is None else SaveBeat(preemption_h=hours, emit=job.emit)


def _online_teacher(config: Any, model: Any) -> TeacherServer | None:
    if not config.kd_online_server_base_url:
        return None
    from runtime.training.losses.server import teacher_server

    return teacher_server(config, vocabulary=int(model.get_input_embeddings().weight.shape[0]))
