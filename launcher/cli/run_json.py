"""The JSON form of a run, the same for every command that shows one."""

from __future__ import annotations

from typing import Any

from launcher.backend.protocol import RunStatus


def run_data(status: RunStatus) -> dict[str, Any]:
    """`{run, state, output_dir, storage, steps, final_loss, checkpoints, resumes}` and what else is known.

    `steps` is how many optimizer steps are done; `final_loss` is the loss of the last of them, or what the training reported at its end.
    """
    record, progress = status.record, status.progress
    return {
        "run": record.run,
        "state": record.state,
        "output_dir": record.output_dir,
        "storage": record.storage,
        "steps": progress.step,
        "final_loss": progress.final_loss if progress.final_loss is not None else progress.loss,
        "checkpoints": [
            {"step": checkpoint.step, "path": str(checkpoint.path), "sealed": checkpoint.sealed} for checkpoint in status.checkpoints
        ],
        "resumes": record.resumes,
        "sweep": record.sweep,
        "values": record.values,
        "recipe": record.recipe,
        "backend": record.backend,
        "created": record.created,
        "message": record.message,
        "exit_code": record.exit_code,
        "attempts": [attempt.model_dump() for attempt in record.attempts],
        "progress": progress.as_json(),
        "spent": _spent(status),
    }


def _spent(status: RunStatus) -> dict[str, Any] | None:
    spent = status.spent
    if spent is None:
        return None
    return {
        "usd": round(spent.usd, 4) if spent.usd is not None else None,
        "usd_per_h": spent.usd_per_h,
        "hours": round(spent.hours, 4),
        "machines": spent.machines,
        "where": spent.where,
        "lost_s": round(spent.lost.seconds, 1),
        "interruptions": spent.lost.interruptions,
    }
