"""Tables in experiment trackers: each has its own way of taking one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.training.trainer import RunTrainer

Rows = Sequence[Sequence[str]]


def send_table(trainer: RunTrainer, name: str, step: int, columns: Sequence[str], rows: Rows) -> None:
    """Show a table in every tracker the run reports to: Weights & Biases, MLflow, Comet and TensorBoard take one.

    What goes wrong there is said and ends nothing: a table is worth no training.
    """
    for tracker in trainer.args.report_to:
        send = _WAYS.get(tracker)
        if send is None:
            continue
        try:
            send(trainer, name, step, columns, rows)
        except Exception as error:  # noqa: BLE001 - trackers fail in their own ways
            trainer.session.progress.say(
                f"warning: {tracker} did not take the table {name} of step {step}: {type(error).__name__}: {error}"
            )


def _wandb(trainer: RunTrainer, name: str, step: int, columns: Sequence[str], rows: Rows) -> None:  # noqa: ARG001
    import wandb

    wandb.log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows]), "train/global_step": step})


def _mlflow(trainer: RunTrainer, name: str, step: int, columns: Sequence[str], rows: Rows) -> None:  # noqa: ARG001
    import mlflow

    mlflow.log_table({column: [row[index] for row in rows] for index, column in enumerate(columns)}, f"{name}/step-{step:08d}.json")


def _comet(trainer: RunTrainer, name: str, step: int, columns: Sequence[str], rows: Rows) -> None:  # noqa: ARG001
    import comet_ml

    experiment = comet_ml.get_running_experiment()
    if experiment is not None:
        experiment.log_table(f"{name}-{step:08d}.csv", tabular_data=[list(row) for row in rows], headers=list(columns))


def _tensorboard(trainer: RunTrainer, name: str, step: int, columns: Sequence[str], rows: Rows) -> None:
    from transformers.integrations import TensorBoardCallback

    writer = next(
        (callback.tb_writer for callback in trainer.callback_handler.callbacks if isinstance(callback, TensorBoardCallback)), None
    )
    if writer is not None:
        lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in row) + " |" for row in rows]
        writer.add_text(name, "\n".join(["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|", *lines]), step)


_WAYS: dict[str, Callable[[RunTrainer, str, int, Sequence[str], Rows], None]] = {
    "wandb": _wandb,
    "mlflow": _mlflow,
    "comet_ml": _comet,
    "tensorboard": _tensorboard,
}
