"""A checkpoint when somebody asks for one: by creating a file in the run's folder, or by a signal."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    import torch

    from runtime.training.session import Session


class OnDemand(TrainerCallback):
    """Looks for the request every `interval` steps and has that step saved; the file goes away once the checkpoint is sealed, so one file asks for one.

    SIGUSR1 to any process of the run asks for the same. All processes save when one of them was asked.
    """

    def __init__(self, session: Session, trigger: Path, *, interval: int) -> None:
        self._session = session
        self._trigger = trigger
        self._interval = interval
        self._signalled = False
        self._asked = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Take the signal from now on."""
        if current_thread() is main_thread():
            signal.signal(signal.SIGUSR1, self._on_signal)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Have this step saved if it was asked for. A run that stops has decided already whether there is time to save."""
        if state.global_step % self._interval or self._session.stopped is not None or not self._requested(args.device):
            return
        self._asked, self._signalled = True, False
        control.should_save = True
        self._session.emit("checkpoint_asked", state.global_step)
        self._session.progress.say(f"step {state.global_step:,}: a checkpoint was asked for")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Once the checkpoint is sealed, the request is answered."""
        if self._asked and self._session.saver.sealed() and self._session.rank.is_main:
            with suppress(OSError):
                self._trigger.unlink(missing_ok=True)
        self._asked = False

    def _requested(self, device: torch.device) -> bool:
        asked = self._signalled or (self._session.rank.is_main and self._trigger.exists())
        if self._session.rank.world_size == 1:
            return asked
        import torch

        return bool(self._session.rank.reduce(torch.tensor([int(asked)], device=device), "max").item())

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        self._signalled = True


def on_demand(config: Any, session: Session, folder: Path) -> OnDemand | None:
    """What answers requests for a checkpoint, None when `dynamic_checkpoint` is not on. Raises UserError when its file is not a plain name."""
    asked = config.dynamic_checkpoint
    if asked is None or not asked.enabled:
        return None
    name, interval = asked.trigger_file_path, asked.check_interval
    if Path(name).name != name:
        raise UserError(
            Problem(
                code="wrong-type",
                path="dynamic_checkpoint.trigger_file_path",
                message=f"{name!r} is not a file name: the file is looked for in output_dir",
                fix="write a name without folders, such as save-now",
            )
        )
    return OnDemand(session, folder / name, interval=interval)
