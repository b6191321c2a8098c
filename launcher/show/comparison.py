"""The runs of a sweep beside each other, the best first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from launcher.backend.protocol import RunStatus
from launcher.show.runs import progress_words
from launcher.show.screen import rendered


def render_comparison(sweep: str, statuses: Sequence[RunStatus], *, width: int | None = None, color: bool | None = None) -> str:
    """A table with each run's values, how far it is, and its losses."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    varied = list(dict.fromkeys(name for status in statuses for name in status.record.values))
    for heading in ("RUN", *varied, "STATE", "PROGRESS", "LOSS", "EVALUATION"):
        table.add_column(
            heading, justify="right" if heading in ("LOSS", "EVALUATION") else "left", no_wrap=heading == "RUN", overflow="fold"
        )
    best = best_of(statuses)
    for status in best_first(statuses):
        record = status.record
        table.add_row(
            Text(record.run, style="bold green" if status is best else ""),
            *(record.values.get(name, "") for name in varied),
            record.state,
            progress_words(status),
            _figure(loss_of(status)),
            _figure(evaluation_of(status)),
        )
    spent = [status.spent.usd for status in statuses if status.spent is not None]
    words = [f"sweep {sweep}, {sum(status.record.state == 'done' for status in statuses)} of {len(statuses)} runs done"]
    if spent and all(usd is not None for usd in spent):
        words.append(f"${sum(usd or 0.0 for usd in spent):,.2f} so far")
    if best is not None:
        by = "evaluation loss" if _by_evaluation(statuses) else "loss"
        words.append(f"lowest {by}: {best.record.run} ({' '.join(f'{name}={value}' for name, value in best.record.values.items())})")
    return rendered(table, Text(), Text(" · ".join(words)), width=width, color=color)


def best_first(statuses: Sequence[RunStatus]) -> list[RunStatus]:
    """The runs by their loss, those without one last, in the order of their names' numbers: by that on evaluation data where every run with a loss has one."""
    by_evaluation = _by_evaluation(statuses)
    return sorted(
        statuses, key=lambda status: (_rank(evaluation_of(status) if by_evaluation else loss_of(status)), _number(status.record.run))
    )


def best_of(statuses: Sequence[RunStatus]) -> RunStatus | None:
    """The first of them that is done and has a loss."""
    done = [status for status in best_first(statuses) if status.record.state in ("done", "unverified")]
    return done[0] if done and math.isfinite(_rank(loss_of(done[0]))) else None


def loss_of(status: RunStatus) -> float | None:
    """The loss the training ended with, or the newest so far."""
    progress = status.progress
    return progress.final_loss if progress.final_loss is not None else progress.loss


def evaluation_of(status: RunStatus) -> float | None:
    """The newest loss on evaluation data."""
    losses = status.progress.eval_losses
    return losses[max(losses)] if losses else None


def _by_evaluation(statuses: Sequence[RunStatus]) -> bool:
    measured = [status for status in statuses if loss_of(status) is not None]
    return bool(measured) and all(evaluation_of(status) is not None for status in measured)


def _rank(loss: float | None) -> float:
    return loss if loss is not None and math.isfinite(loss) else math.inf


def _number(run: str) -> int:
    number = run.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _figure(loss: float | None) -> str:
    return f"{loss:.4f}" if loss is not None else ""
