"""What watches over training between its steps, as the recipe asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.training.aftermath import refuse_benchmark
from runtime.training.comet import start_comet
from runtime.training.lisa import lisa_of
from runtime.training.ondemand import on_demand
from runtime.training.profiling import profiler, sync_profiler
from runtime.training.sampling import sampling
from runtime.training.scores import Scores

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from runtime.training.trainer import RunTrainer


def refuse_unready(config: Any, *, main: bool) -> None:
    """Raise UserError, before data are prepared or anything is trained, when what is to be measured on the way or at the end cannot be measured here.

    `main`: this is the process that will run the benchmarks; looking their tasks up takes a while, and one process is enough to do it.
    """
    if main:
        refuse_benchmark(config)
    if config.do_causal_lm_eval:
        Scores.of(config)


def watchers(config: Any, trainer: RunTrainer, folder: Path, *, cuda: bool) -> list[TrainerCallback]:
    """The recipe's callbacks, in the order they are asked. `folder` is the run's. Raises UserError for what does not fit the model."""
    session = trainer.session
    if session.rank.is_main:
        start_comet(config)
    asked = (
        lisa_of(config, trainer.model),
        sampling(config, trainer),
        on_demand(config, session, folder),
        profiler(config, session, folder, cuda=cuda),
        sync_profiler(config, session, folder),
    )
    return [callback for callback in asked if callback is not None]
