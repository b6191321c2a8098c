"""`launcher down SWEEP`: nothing of any of its runs is left at work."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.backend.protocol import ACTIVE, Backend
from launcher.cli.confirm import confirm
from launcher.cli.output import emit_json, note, note_problems, say
from runtime.config.problem import Problem


def down_sweep(sweep: str, backend: Backend, runs: Sequence[str], *, delete: bool, yes: bool, no_input: bool, as_json: bool) -> None:
    """End every run, the last first, and with `delete` remove its results and record too."""
    active = [run for run in runs if backend.look(run).state in ACTIVE]
    if delete or active:
        what = f"end {len(active)} of its {len(runs)} runs" if active else ""
        kept = "delete all of them" if delete else "keep their results"
        confirm(f"sweep {sweep}: {' and '.join(part for part in (what, kept) if part)}?", yes=yes, no_input=no_input)
    left: list[Problem] = []
    # From the last to the first: a run that waits for its turn must not begin because the one before it was ended.
    for run in reversed(runs):
        note(f"taking {run} down …")
        left += backend.down(run, delete=delete)
    if as_json:
        emit_json("down", {"sweep": sweep, "runs": list(runs), "deleted": delete}, warnings=left)
        return
    note_problems(left, kind="warning")
    say(f"{sweep}: {'deleted' if delete else 'nothing of it is at work; its results were kept'}")
