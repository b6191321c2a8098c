"""`launcher estimate --check RUN`: what a run measured, beside its estimate."""

from __future__ import annotations

import os

from launcher.cli.output import emit_json, say
from runtime.config.problem import ExitCode


def show_check(name: str, *, as_json: bool) -> int:
    """Print the comparison of one run."""
    from launcher.plan.lessons import lesson_of
    from launcher.show.check import render_check
    from launcher.state.runs import find_run, state_root

    folder = find_run(state_root(os.environ), name)
    lesson = lesson_of(folder)
    if as_json:
        made = lesson.estimate
        memory, time = made.memory, made.time
        on_gpu = made.hardware.gpus is not None
        body = {
            "run": folder.run,
            "hardware": made.hardware.name,
            "memory_gib": {
                "measured": round(lesson.peak_gib, 4),
                "estimated": round(memory.peak.tensors_gib if on_gpu else memory.held.value, 4),
                "factor": round(lesson.memory_factor, 4),
            },
            "tokens_per_s_per_gpu": {
                "measured": round(lesson.tokens_per_s, 2),
                "estimated": round(time.tokens_per_s_per_gpu.value, 2) if time is not None else None,
                "factor": round(lesson.speed_factor, 4) if lesson.speed_factor is not None else None,
            },
        }
        emit_json("estimate", body)
    else:
        say(render_check(folder.run, lesson))
    return ExitCode.OK
