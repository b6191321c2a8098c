"""What a run needs besides a plan before anything starts: its secrets, and a storage that outlives a rented machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from launcher.cli.targets import is_here
from runtime.config.problem import ExitCode, Problem, UserError

if TYPE_CHECKING:
    from launcher.backend.job import Job
    from runtime.config.schema import TrainingConfig


def check_needs(config: TrainingConfig, environment: Mapping[str, str]) -> None:
    """Raise UserError when a secret is not here, or a run on a rented machine has nowhere to leave its results."""
    from launcher.backend.local.child_environment import check_secrets
    from runtime.config.secrets import check_hub_token, wanted_secrets

    if is_here(config.launch):
        check_secrets(config.launch.secrets, environment)
        check_hub_token(config, environment)
        return
    from launcher.backend.sky.required_storage import check_storage

    # What is stored on this machine alone serves no other.
    check_secrets(wanted_secrets(config), environment)
    check_storage(config.launch.storage)


def about_cap(job: Job) -> list[Problem]:
    """The warning of a run on rented machines whose cap on money nothing would keep, as no price is known of any machine it may take."""
    launch = job.config.launch
    if launch.max_cost_usd is None or job.offers or is_here(launch):
        return []
    return [
        Problem(
            code="unkept-cap",
            path="launch.max_cost_usd",
            place="--max-cost",
            message=f"no price is known of a machine that would do, so nothing keeps the run under its cap of ${launch.max_cost_usd:,.2f}",
            fix="read prices with `launcher offers --refresh`, or cap the time instead: --max-hours",
        )
    ]


def check_cap(job: Job) -> None:
    """Raise UserError (exit 3) for such a run where it would be billed. A cluster of one's own has no price, and a cap on money means nothing there."""
    from launcher.plan.enabled import OF_ONES_OWN

    if job.config.launch.cloud not in OF_ONES_OWN and (problems := about_cap(job)):
        raise UserError(problems, exit_code=ExitCode.REFUSED)
