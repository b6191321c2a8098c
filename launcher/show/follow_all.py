"""Watching several runs at once: a line for what happens in any of them; leaving them never ends them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from launcher.backend.protocol import Backend
from launcher.show.follow import Leave, Narrator, Watch, interrupts, tell_news

if TYPE_CHECKING:
    from rich.console import Console

_PERIOD_S = 0.5


def follow_all(backend: Backend, runs: Sequence[str], *, console: Console, quiet: bool = False) -> Leave:
    """How the watching ended: with the last of the runs, or by Ctrl-C."""

    def say(line: str, *, run: str) -> None:
        if not quiet:
            console.print(f"{run}  {line}", highlight=False, markup=False, soft_wrap=True)

    watched = {run: (Watch(backend, run), Narrator()) for run in runs}
    with interrupts() as interrupted:
        while watched:
            for run in list(watched):
                if interrupted():
                    return "detached"
                watch, narrator = watched[run]
                if tell_news(watch, narrator, say=partial(say, run=run)):
                    say(watch.state, run=run)
                    del watched[run]
            if watched:
                time.sleep(_PERIOD_S)
    return "ended"
