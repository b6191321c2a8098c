"""What the shell offers for arguments that name something of this machine."""

from __future__ import annotations


def run_names(incomplete: str) -> list[str]:
    """Names of the runs known here that begin with `incomplete`, the newest first. Nothing when the state cannot be read: a shell has no place for errors."""
    from launcher.state.runs import list_runs, state_root

    try:
        return [run.run for run in list_runs(state_root()) if run.run.startswith(incomplete)]
    except OSError:
        return []


def run_and_sweep_names(incomplete: str) -> list[str]:
    """The same for commands that take a sweep too: its name comes before those of its runs."""
    from launcher.state.runs import list_runs, state_root
    from runtime.config.problem import UserError

    names: dict[str, None] = {}
    try:
        for folder in list_runs(state_root()):
            try:
                sweep = folder.record().sweep
            except UserError:
                sweep = None
            names |= dict.fromkeys(name for name in (sweep, folder.run) if name is not None and name.startswith(incomplete))
    except OSError:
        return []
    return list(names)
