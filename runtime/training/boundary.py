"""What happens between two optimizer steps: planned deaths, stops, and the beat of saving, the same on all processes."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from runtime.training.chaos import kill_after, kill_now
from runtime.training.stop import Notice, most_urgent
from runtime.training.weighing import checkpoint_sizes

if TYPE_CHECKING:
    from runtime.training.session import Session
    from runtime.training.trainer import RunTrainer


class Wish(IntEnum):
    """What a process wants to happen at this step boundary; the greatest of all processes happens on each."""

    GO_ON = 0
    SAVE = 1
    STOP = 2


def agreed(session: Session, device: torch.device) -> Wish:
    """The most urgent wish of any process; the answer is the same on all of them."""
    wish = _own_wish(session)
    if session.rank.world_size == 1:
        return wish
    return Wish(int(session.rank.reduce(torch.tensor([int(wish)], device=device), "max").item()))


def request_end(trainer: RunTrainer) -> None:
    """End training after this step and remember why, saving what the time left allows. Every process must call it."""
    session, control, step = trainer.session, trainer.control, trainer.state.global_step
    # What is being sealed is the newest there is; only then is it known what else there is time for.
    session.saver.sealed()
    notice = most_urgent(session.rank.gather(session.stop.why(session.notice_file)))
    session.stopped = notice
    left = notice.left_s(session.saver.now())
    if control.should_evaluate:
        control.should_evaluate, session.evaluation_due = False, step
    sizes = checkpoint_sizes(trainer.accelerator.unwrap_model(trainer.model), trainer.optimizer, only_model=trainer.args.save_only_model)
    spread = session.sharding is not None
    ending = session.rank.share(session.saver.ending(left, sizes, machine_stays=notice.kind == "stop", spread=spread))
    session.ending = ending
    control.should_save = ending.what != "keep"
    control.should_training_stop = True
    if notice.kind == "preempt":
        session.emit("preempted", step, deadline_s=None if left is None else round(left, 3), reason=notice.reason, saves=ending.what)
    if left is not None and ending.what == "weights":
        session.progress.say(f"{left:.1f} s are left, too few for a full checkpoint: saving the weights beside the last sealed one")
    elif left is not None and ending.what == "keep":
        session.progress.say(f"{left:.1f} s are left, too few for a checkpoint: keeping the last sealed one")


class StepBoundary(TrainerCallback):
    """Decides what follows each optimizer step."""

    def __init__(self, trainer: RunTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Decide what follows optimizer step `state.global_step`."""
        trainer, session, step = self._trainer, self._trainer.session, state.global_step
        self._strike(session, step)
        last = step >= state.max_steps
        if session.relora is not None and session.relora.due(step, last=last):
            session.relora.restart(trainer.accelerator.unwrap_model(trainer.model), trainer.optimizer, step)
            session.emit("adapter_restarted", step)
        session.sweep.after_step(step, evaluates=control.should_evaluate, epoch_ends=step % session.cadence.steps_per_epoch == 0)
        control.should_save = session.cadence.saves_at(step) or (last and session.cadence.saves_last)
        if last:
            return
        match agreed(session, args.device):
            case Wish.STOP:
                request_end(trainer)
            case Wish.SAVE:
                control.should_save = True
            case Wish.GO_ON:
                pass

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Make up for an evaluation that a stop left out."""
        trainer, session = self._trainer, self._trainer.session
        session.stop.deferred = True
        if session.beat is not None:
            session.beat.begin()
        if session.evaluation_due is not None and session.evaluation_due == state.global_step and trainer.eval_dataset is not None:
            trainer.evaluate_now()
            control.should_save = False

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """A checkpoint is sealed: the next is due when its cost says so, and whoever wanted one has it."""
        session = self._trainer.session
        session.stop.save_soon = False
        if session.beat is not None:
            session.beat.saved(session.saver.blocking_s, send_s=session.saver.pace.last_sent_s, step=state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Training is over, the model is not saved yet."""
        self._trainer.session.saver.settle_together()
        self._trainer.ledger.discard_open()

    @staticmethod
    def _strike(session: Session, step: int) -> None:
        blow = session.chaos.due(step)
        if blow is None:
            return
        session.chaos.strike(blow, writes=session.rank.is_main)
        session.rank.barrier()
        # A planned death finds the same checkpoints every time.
        session.saver.settle()
        session.progress.say(f"chaos: {blow.text}")
        if blow.kind == "kill":
            kill_now()
        session.stop.ask(Notice(kind="preempt", deadline_at=session.saver.now() + blow.deadline_s, reason=f"chaos {blow.text}"))
        session.reaper = kill_after(blow.deadline_s)


def _own_wish(session: Session) -> Wish:
    if session.stop.requested:
        return Wish.STOP
    if session.stop.save_soon or (session.rank.is_main and session.beat is not None and session.beat.due()):
        return Wish.SAVE
    return Wish.GO_ON
