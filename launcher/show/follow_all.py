"""Watching several runs at once: a line for what happens in any of them; leaving them never ends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from launcher.backend.protocol import Backend
from launcher.show.follow import Leave, Narrator, Watch, interrupts

if TYPE_CHECKING:
    from rich.console import Console

_PERIOD_S = 0.5


def follow_all(backend: Backend, runs: Sequence[str], *, console: Console, quiet: bool = False) -> Leave:
    """How the watching ended: with the last of the runs, or by Ctrl-C."""

    def say(run: str, line: str) -> None:
        if not quiet:
            console.print(f"{run}  {line}", highlight=False, markup=False, soft_wrap=True)

    watched = {run: (Watch(backend, run), Narrator()) for run in runs}
    with interrupts() as interrupted:
        while watched:
            for run in list(watched):
                if interrupted():
                    return "detached"
                if _looked(*watched[run], say=lambda line, run=run: say(run, line)):  # type: ignore[misc]
                    del watched[run]
            if watched:
                time.sleep(_PERIOD_S)
    return "ended"


def _looked(watch: Watch, narrator: Narrator, *, say: Callable[[str], None]) -> bool:
    """Whether the run has ended."""
    events, ended = watch.look()
    if watch.news:
        say(watch.news)
    for event in events:
        if line := narrator.line(event, watch.progress):
            say(line)
    if ended:
        say(watch.state)
    return ended
