"""A submission made anew for a run that goes on: with new limits, and with the keys that this computer has now."""

from __future__ import annotations

from collections.abc import Mapping

from launcher.backend.bounds import Bounds
from launcher.backend.local.child_environment import check_secrets
from launcher.backend.node.guard import limits_of, over
from launcher.backend.sky.handover import new_id
from launcher.backend.sky.submission import Submission
from launcher.plan.storage_keys import renewed_names
from launcher.state.runs import RunFolder
from launcher.state.usage import Usage
from launcher.task.surroundings import GOOGLE_KEY
from runtime.config.problem import ExitCode, Problem, UserError


def renewed(submission: Submission, *, bounds: Bounds, storage: str | None, environment: Mapping[str, str], now: float) -> Submission:
    """The next submission of the run. Raises UserError when a secret that the run needs is not in `environment`."""
    names = renewed_names(submission.secrets, storage, environment)
    check_secrets([name for name in names if name != GOOGLE_KEY], environment)
    return submission.model_copy(
        update={"id": new_id(now), "number": None, "submitted": now, "task": bounds.over_task(submission.task), "secrets": names}
    )


def refuse_spent(folder: RunFolder, usage: Usage, bounds: Bounds) -> None:
    """Raise UserError (exit 3) for a run that would be stopped again as soon as its machine is there."""
    from runtime.config.load import check_text

    config = check_text(bounds.over_config(folder.config_path.read_text(encoding="utf-8")), file=str(folder.config_path)).config
    if config is None:
        return
    reason = over(limits_of(config), usage, submission="", quiet_s=0.0)
    if reason is not None:
        raise UserError(
            Problem(
                code="over-budget",
                path="launch.max_cost_usd",
                place=folder.run,
                message=reason,
                fix=f"give it a higher cap on all it costs: launcher resume {folder.run} --max-cost USD",
            ),
            exit_code=ExitCode.REFUSED,
        )
