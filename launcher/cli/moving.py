"""Showing how far a transfer has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from launcher.cli.output import note
from runtime.checkpoint.transit import Transit, repeated, told

_REFRESH_S = 0.2


@contextmanager
def shown(what: str) -> Iterator[Transit]:
    """A Transit that is shown on stderr while the block runs, under the name `what`."""
    if not sys.stderr.isatty():
        with told(note, what) as transit:
            yield transit
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    transit = Transit()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        with repeated(lambda: bar.update(task, completed=transit.moved_bytes, total=transit.total_bytes or None), every_s=_REFRESH_S):
            yield transit
