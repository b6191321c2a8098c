"""Showing how far a transfer has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from launcher.cli.output import note
from runtime.checkpoint.transit import Transit, told

_REFRESH_S = 0.2


@contextmanager
def shown(transit: Transit, what: str) -> Iterator[None]:
    """Shows `transit` on stderr while the block runs, under the name `what`."""
    if not sys.stderr.isatty():
        with told(transit, note, what):
            yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    over = threading.Event()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def follow() -> None:
            while not over.wait(_REFRESH_S):
                bar.update(task, completed=transit.moved_bytes, total=transit.total_bytes or None)

        thread = threading.Thread(target=follow, name="bar", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
