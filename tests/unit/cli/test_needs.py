"""What a run on rented machines is refused for before anything is rented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from launcher.backend.job import Job
from launcher.cli.needs import about_cap, check_cap
from launcher.plan.offer import Offer
from runtime.config.load import check_text
from runtime.config.problem import ExitCode, UserError

RECIPE = "base_model: a/b\nlearning_rate: 1e-4\ndatasets: [{path: org/rows, type: alpaca}]\nlaunch:\n  "
OFFER = Offer(
    cloud="aws", region="r", instance="i", gpus="8×A100", usd_per_h=1.0, spot=False, expected_usd=None, expected_h=None, verdict="ok"
)


def job(launch: str) -> Job:
    config = check_text(RECIPE + launch, file="r.yml").config
    assert config is not None
    return Job(run="one", recipe="r.yml", config=config, cwd=Path())


def test_a_cap_on_money_needs_a_price_to_be_kept_by() -> None:
    capped = job("gpus: A100:8\n  max_cost_usd: 25")
    with pytest.raises(UserError, match=r"nothing keeps the run under its cap of \$25\.00") as caught:
        check_cap(capped)
    assert caught.value.exit_code == ExitCode.REFUSED
    check_cap(replace(capped, offers=(OFFER,)))
    check_cap(job("gpus: A100:8\n  max_hours: 2"))
    check_cap(job("cloud: local\n  max_cost_usd: 25"))
    own = job("gpus: A100:8\n  cloud: slurm\n  max_cost_usd: 25")
    check_cap(own)
    assert [problem.code for problem in about_cap(own)] == ["unkept-cap"]
