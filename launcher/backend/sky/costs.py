"""What a rented run has cost, and what of it is billed now."""

from __future__ import annotations

from launcher.backend.protocol import Spent
from launcher.backend.sky.submission import Submission
from launcher.state.usage import Lost, Usage


def spent(usage: Usage, lost: Lost) -> Spent | None:
    """What the run has used so far; None before its first machine."""
    if usage.last is None:
        return None
    return Spent(
        hours=usage.hours(), usd=usage.usd, usd_per_h=usage.last.usd_per_h, where=usage.last.where, machines=len(usage.lives), lost=lost
    )


def billed(submission: Submission, run: str) -> str:
    """What costs money as long as the run goes on, in a sentence."""
    price = f"up to ${submission.usd_per_h:,.2f} an hour" if submission.usd_per_h is not None else "at a price that is not known here"
    what = (
        f"cluster {submission.name}"
        if submission.kind == "cluster"
        else f"managed job {submission.number}"
        if submission.number is not None
        else f"the managed job {submission.name}"
    )
    return f"{what} is billed {price} until the run ends, or until `launcher down {run}`"
