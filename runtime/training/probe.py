"""One step at the longest rows before training begins: whether the run fits into the memory that is really there, and with which micro batch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from runtime.config.problem import ExitCode, Problem, UserError
from runtime.expectation import expected_peak_gib
from runtime.training.cadence import Cadence, smaller_micro_batches
from runtime.training.lisa import Lisa
from runtime.training.meter import Meter, meter_of
from runtime.training.optimizers.needs import STEPS_IN_BACKWARD, OptimizerNeeds, builder, optimizer_needs
from runtime.training.trial import Need, need_of
from runtime.training.untouched import untouched

if TYPE_CHECKING:
    from runtime.training.job import Job
    from runtime.training.trainer import RunTrainer

_GIB = 2**30
# How far above the room an inexact peak must be before the run is refused for it: what others use may end, and a machine may swap.
_FAR_OVER = 1.25


class Probe:
    """Tries the micro batch of `job` on every process. Where the recipe allows it, one that does not fit gives way to a smaller one of the same global batch.

    `meter` measures instead of the one that belongs to the model's devices; `clock` is monotonic seconds.
    """

    def __init__(self, job: Job, *, meter: Meter | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._job = job
        self._meter = meter
        self._clock = clock

    def settle(self, trainer: RunTrainer, wrapped: nn.Module) -> Cadence:
        """The cadence to train with: the run's own or, where that does not fit, one with a smaller micro batch. All processes get the same one.

        `wrapped` is the model as it trains. Nothing of `trainer` is changed. Raises UserError with ExitCode.REFUSED when nothing fits.
        """
        began, job, given = self._clock(), self._job, trainer.session.cadence
        meter = self._meter or meter_of((parameter.device for parameter in trainer.model.parameters()), processes=job.rank.world_size)
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, Lisa):
                # Which layers train is what the first step will begin with.
                callback.on_step_begin(trainer.args, trainer.state, trainer.control, optimizer=trainer.optimizer)
        optimizer = trainer.optimizer
        with untouched(trainer, wrapped):
            later = _optimizer_needs(trainer, optimizer, meter)
        need: Need | None = None
        for cadence in self._candidates(trainer):
            with untouched(trainer, wrapped):
                own = need_of(trainer, wrapped, cadence, later, meter)
            need = max(job.rank.gather(own), key=lambda one: (not one.ended, one.share))
            fits = need.ended and need.share <= (1.0 if meter.exact else _FAR_OVER)
            self._tell(trainer, cadence, need, meter, seconds=self._clock() - began, fits=fits)
            if fits:
                return cadence
            if need.phase == "optimizer":
                # It holds the same whatever the micro batch is.
                break
        assert need is not None
        raise UserError(_refusal(job.config, cadence, given, need, meter), exit_code=ExitCode.REFUSED)

    def _candidates(self, trainer: RunTrainer) -> Iterator[Cadence]:
        job, cadence = self._job, trainer.session.cadence
        yield cadence
        if job.config.auto_find_batch_size:
            yield from smaller_micro_batches(
                cadence,
                rows=len(trainer.train_dataset),
                world_size=job.rank.world_size,
                drop_last=bool(job.config.dataloader_drop_last),
            )

    def _tell(self, trainer: RunTrainer, cadence: Cadence, need: Need, meter: Meter, *, seconds: float, fits: bool) -> None:
        job, given = self._job, trainer.session.cadence
        between = " of" if fits else ", and there are"
        expected = expected_peak_gib(job.surroundings.state_dir) if cadence is given and not given.lowered else None
        job.progress.say(f"probe: {_needs(need)}{between} {need.room / _GIB:.1f} GiB{_against(need, expected)}")
        if not fits:
            return
        if need.share > 1:
            job.progress.say(f"warning: that is more than {meter.place} has left; training may be slow, or end for want of memory")
        if cadence is not given:
            job.progress.say(
                f"warning: micro_batch_size goes from {given.micro_batch_size} to {cadence.micro_batch_size}, gradient_accumulation_steps from "
                f"{given.gradient_accumulation_steps} to {cadence.gradient_accumulation_steps}: the same global batch"
            )
        job.emit(
            "probe",
            trainer.state.global_step,
            micro_batch=cadence.micro_batch_size,
            peak_gib=round(need.peak / _GIB, 3),
            room_gib=round(need.room / _GIB, 3),
            expected_gib=expected,
            seconds=round(seconds, 3),
            tokens=need.tokens,
            lowered_from=given.micro_batch_size if cadence is not given else None,
        )


def probe_of(job: Job, *, cuda: bool, sharded: bool = False) -> Probe | None:
    """What tries the run before it begins; None where `launch.probe` says no, or leaves it to a run that has no need of it.

    Left to the run, it is done on a GPU, and wherever `auto_find_batch_size` asks for a micro batch that fits. A `sharded` run is not tried: where one
    process ran out of memory, the others would wait for its shards.
    """
    config = job.config
    wanted = config.launch.probe
    if wanted == "auto":
        wanted = (cuda or bool(config.auto_find_batch_size)) and not sharded
    optimizer = str(getattr(config.optimizer, "value", config.optimizer))
    if wanted and optimizer in STEPS_IN_BACKWARD:
        job.progress.say(f"no probe of the memory: '{optimizer}' changes the weights in every backward pass")
        return None
    return Probe(job) if wanted else None


def kept_cadence(config: Any, cadence: Cadence, checkpoint: Path | None, *, rows: int, world_size: int) -> Cadence:
    """`cadence` with the micro batch that a run had come down to when it made `checkpoint`, where its recipe allows lowering."""
    if checkpoint is None or not config.auto_find_batch_size:
        return cadence
    try:
        kept = json.loads((checkpoint / "session.json").read_text(encoding="utf-8")).get("micro_batch_size")
    except (OSError, ValueError):
        return cadence
    smaller = smaller_micro_batches(cadence, rows=rows, world_size=world_size, drop_last=bool(config.dataloader_drop_last))
    return next((one for one in smaller if one.micro_batch_size == kept), cadence)


def _optimizer_needs(trainer: RunTrainer, optimizer: Any, meter: Meter) -> OptimizerNeeds:
    made = optimizer
    while hasattr(made, "optimizer"):
        made = made.optimizer
    own = trainer.session.optimizer
    kind, settings = (None, {}) if own is not None else trainer.get_optimizer_cls_and_kwargs(trainer.args, trainer.model)
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    return optimizer_needs(made, builder(made, own, kind, settings), names, meter)


def _needs(need: Need, *, tokens: bool = False) -> str:
    more = "" if need.ended else "more than "
    rows = ("1 row" if need.rows == 1 else f"{need.rows} rows") + (f" ({need.tokens:,} tokens)" if tokens else "")
    match need.phase:
        case "evaluation":
            what = f"an evaluation of {rows}"
        case "optimizer":
            what = "the optimizer's update"
        case _:
            what = f"one step of {rows}"
    return f"{what} needs {more}{need.peak / _GIB:.1f} GiB"


def _against(need: Need, expected_gib: float | None) -> str:
    """How far off the estimate was, which later estimates are corrected by; empty where there was none, or where nothing was measured to its end."""
    if expected_gib is None or not need.ended:
        return ""
    return f"; {expected_gib:.1f} GiB were expected ({need.peak / _GIB / expected_gib - 1:+.0%})"


def _refusal(config: Any, cadence: Cadence, given: Cadence, need: Need, meter: Meter) -> Problem:
    smallest = f" even with micro_batch_size {cadence.micro_batch_size}" if cadence is not given else ""
    return Problem(
        code="does-not-fit",
        path="micro_batch_size" if need.phase == "training" else "eval_batch_size" if need.phase == "evaluation" else "optimizer",
        message=f"{_needs(need, tokens=True)}{smallest}, and {meter.place} has room for {need.room / _GIB:.1f} GiB",
        fix="change one of these: " + "; ".join(_fixes(config, cadence, need)),
    )


def _fixes(config: Any, cadence: Cadence, need: Need) -> Iterator[str]:
    """The changes that would help, those that change nothing of what is learnt first."""
    smaller = next(iter(smaller_micro_batches(cadence, rows=0, world_size=1, drop_last=False)), None)
    if need.phase == "evaluation":
        yield f"`eval_batch_size: {max(1, need.rows // 2)}`"
    if need.phase == "training" and smaller is not None:
        yield (
            f"`micro_batch_size: {smaller.micro_batch_size}` with `gradient_accumulation_steps: {smaller.gradient_accumulation_steps}`, "
            "which `auto_find_batch_size: true` finds by itself"
        )
    if need.phase != "optimizer" and not config.gradient_checkpointing:
        yield "`gradient_checkpointing: true`"
    if need.phase != "optimizer":
        yield "a lower `sequence_len`"
    if not config.adapter:
        yield "`adapter: lora`"
        if "8bit" not in str(getattr(config.optimizer, "value", config.optimizer)):
            yield "`optimizer: paged_adamw_8bit`"
    elif not config.load_in_4bit:
        yield "`adapter: qlora` with `load_in_4bit: true`"
    yield "a machine with more memory"
