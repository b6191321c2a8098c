"""`launcher estimate --check RUN`: what a run measured, beside its estimate."""

from __future__ import annotations

import os

from launcher.cli.output import emit_json, say
from runtime.config.problem import ExitCode


def show_check(name: str, *, as_json: bool) -> int:
    """Print the comparison of one run."""
    from launcher.plan.lessons import compared, measured_by
    from launcher.show.check import render_check
    from launcher.state.runs import find_run, state_root

    folder = find_run(state_root(os.environ), name)
    measured = measured_by(folder)
    comparison = compared(folder, measured)
    if as_json:
        made, probed = comparison.estimate, measured.probed
        time = made.time
        body = {
            "run": folder.run,
            "hardware": made.hardware.name,
            "memory_gib": {
                "measured": _rounded(comparison.peak_gib),
                "in_training": _rounded(measured.peak_gib),
                "in_probe": _rounded(probed.peak_gib) if probed is not None else None,
                "estimated": _rounded(comparison.expected_gib),
                "factor": _rounded(comparison.memory_factor),
            },
            "tokens_per_s_per_gpu": {
                "measured": _rounded(comparison.tokens_per_s),
                "estimated": _rounded(time.tokens_per_s_per_gpu.value) if time is not None else None,
                "factor": _rounded(comparison.speed_factor),
            },
            "micro_batch": {"trained": made.step.workload.micro_batch, "lowered_from": probed.lowered_from if probed is not None else None},
        }
        emit_json("estimate", body)
    else:
        say(render_check(comparison, measured))
    return ExitCode.OK


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if value is not None else None
