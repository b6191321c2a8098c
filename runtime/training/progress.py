"""What a person sees of a run: a line for every logging step, and a bar when a terminal is watching."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from runtime.training.ledger import StepRecord


class Progress:
    """Writes to `stream`, the messages' side; silent on processes that do not speak. `clock` is monotonic seconds."""

    def __init__(self, *, speaks: bool, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._speaks = speaks
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._began: tuple[int, float] | None = None
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def say(self, text: str) -> None:
        """One line."""
        if not self._speaks:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=self._stream, flush=True)

    def begin(self, step: int, total: int) -> None:
        """Training starts after `step` of `total` steps."""
        self._began = (step, self._clock())
        if self._speaks and self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
            self._task = self._bar.add_task("training", total=total, completed=step)
            self._bar.start()

    def steps(self, records: Sequence[StepRecord], *, total: int, logs: bool) -> None:
        """Steps that ended; one line about the last of them when it is a logging step."""
        last = records[-1]
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=last.step)
        if logs or last.step == total:
            self.say(describe(last, total=total, eta_s=self._eta(last.step, total)))

    def evaluated(self, step: int, metrics: dict[str, float]) -> None:
        """The result of an evaluation."""
        loss = metrics.get("loss")
        self.say(f"step {step:,}: evaluation loss {loss:.4f}" if loss is not None else f"step {step:,}: evaluated")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table where a terminal is watching; elsewhere a line for each cell, which a log can hold."""
        if not self._speaks:
            return
        if not self._stream.isatty():
            self.say(title)
            for number, row in enumerate(rows, 1):
                for column, cell in zip(columns, row, strict=True):
                    self.say(f"  {number} {column}: {cell}")
            return
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        shown = Table(title=title, title_justify="left", show_lines=True)
        for column in columns:
            shown.add_column(column, overflow="fold")
        for row in rows:
            shown.add_row(*(Text(cell) for cell in row))
        (self._bar.console if self._bar is not None else Console(file=self._stream)).print(shown)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _eta(self, step: int, total: int) -> float | None:
        if self._began is None or step <= self._began[0]:
            return None
        return (self._clock() - self._began[1]) / (step - self._began[0]) * (total - step)


def describe(record: StepRecord, *, total: int, eta_s: float | None) -> str:
    """`step 20/300  loss 2.3125  lr 1.9e-04  1,204 tok/s  3.1 GiB  2 min left`."""
    parts = [
        f"step {record.step:,}/{total:,}",
        f"loss {record.loss:.4f}",
        f"lr {record.learning_rate:.2e}",
        f"{record.tokens_per_s:,.0f} tok/s",
        f"{record.memory_gib:.1f} GiB",
    ]
    if eta_s is not None and record.step < total:
        parts.append(f"{duration(eta_s)} left")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """`42 s`, `3 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
