"""Scores of estimators on the measured rows: how far off, by method and architecture, and how often the verdict is wrong."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.estimate.card import Verdict, on_card, verdict_of
from launcher.estimate.memory import peak_of
from memory.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an estimator says of a row: GiB of the same kind that was measured, and its verdict where the card is known."""

    gib: float
    verdict: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Relative errors over some rows: mean and median size, 90th percentile of the size, and the mean with its sign."""

    rows: int
    mean: float
    median: float
    p90: float
    bias: float

    def to_json(self) -> dict[str, float | int]:
        """The score as JSON."""
        return {name: value if isinstance(value, int) else round(value, 4) for name, value in vars_of(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """How verdicts agree with what happened: of runs that ran, and of runs that went out of memory, how many were said to fit, tightly, or not."""

    ran: Mapping[str, int]
    ran_out: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON."""
        return {"ran": dict(self.ran), "ran_out": dict(self.ran_out)}


RESERVED_ALONE = 1.12
"""Reserved over allocated where segments do not grow: the median of the 79 pairs that fitcheck-llm publishes of one GPU and rows of one length."""
RESERVED_SHARDED = 1.2
"""The same where several GPUs share a model, whose gathered layers come and go: the mean of the three public pairs (fsdp_qlora 8.28 to 10.24 and 9.16 to
10.22, xtuner 18.02 to 22.20 GiB)."""

VERDICTS: tuple[Verdict, ...] = ("fits", "tight", "does-not-fit")


def ours(row: Row) -> Answer:
    """The estimate of this project."""
    tensors = peak_of(row.facts, row.workload).tensors_gib
    held = on_card(tensors, gpus=row.gpus, packed=True, capability=row.gpu.compute_capability if row.gpu else None)
    # What the allocator keeps for itself is no need of the run: on a full card it gives that back before it fails.
    reserved = held.value - held.context_gib if row.expandable else tensors * (RESERVED_ALONE if row.gpus == 1 else RESERVED_SHARDED)
    if row.gpu is not None:
        reserved = max(tensors, min(reserved, row.gpu.capacity_gib - held.context_gib))
    gib = {"allocated": tensors, "reserved": reserved, "card": reserved + held.context_gib}[row.kind]
    return Answer(gib=gib, verdict=verdict_of(held, row.gpu.capacity_gib) if row.gpu else None)


def error_of(row: Row, answer: Answer) -> float:
    """Estimated over measured, less one."""
    assert row.measured_gib is not None
    return answer.gib / row.measured_gib - 1


def score(errors: Iterable[float]) -> Score:
    """The score of some errors, at least one."""
    signed = list(errors)
    size = sorted(abs(error) for error in signed)
    return Score(
        rows=len(size),
        mean=statistics.mean(size),
        median=statistics.median(size),
        p90=size[min(len(size) - 1, int(0.9 * len(size)))],
        bias=statistics.mean(signed),
    )


def scores_by(rows: Iterable[Row], answers: Mapping[str, Answer], group: Callable[[Row], str]) -> dict[str, Score]:
    """Scores of the rows that were measured and answered, by group, and over `all` of them."""
    errors: dict[str, list[float]] = {}
    for row in rows:
        if not row.ran_out and row.id in answers:
            error = error_of(row, answers[row.id])
            errors.setdefault(group(row), []).append(error)
            errors.setdefault("all", []).append(error)
    return {name: score(found) for name, found in sorted(errors.items(), key=lambda item: (item[0] == "all", item[0]))}


def verdicts(rows: Iterable[Row], answers: Mapping[str, Answer]) -> Verdicts:
    """Verdicts against what happened, over the rows whose card is known."""
    counts = {True: dict.fromkeys(VERDICTS, 0), False: dict.fromkeys(VERDICTS, 0)}
    for row in rows:
        answer = answers.get(row.id)
        if answer is not None and answer.verdict is not None:
            counts[row.ran_out][answer.verdict] += 1
    return Verdicts(ran=counts[False], ran_out=counts[True])


def print_scores(title: str, scores: Mapping[str, Score]) -> None:
    """A table, one group a line."""
    print(f"\n{title:42} {'rows':>4} {'mean |e|':>9} {'median':>8} {'p90':>8} {'bias':>8}")
    for name, value in scores.items():
        print(f"{name:42} {value.rows:4} {value.mean:9.1%} {value.median:8.1%} {value.p90:8.1%} {value.bias:+8.1%}")


def vars_of(value: Score) -> dict[str, float | int]:
    """Fields of a score by name."""
    return {name: getattr(value, name) for name in ("rows", "mean", "median", "p90", "bias")}
