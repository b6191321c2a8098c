"""What the shell offers for arguments that name something of this machine."""

from __future__ import annotations


def run_names(incomplete: str) -> list[str]:
    """Names of the runs known here that begin with `incomplete`, the newest first. Nothing when the state cannot be read: a shell has no place for errors."""
    from launcher.state.runs import list_runs, state_root

    try:
        return [run.run for run in list_runs(state_root()) if run.run.startswith(incomplete)]
    except OSError:
        return []
