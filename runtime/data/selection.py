"""Which samples stay, in which order, and which are set aside for evaluation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xxhash

from runtime.config.problem import Problem, UserError
from runtime.data.tokens import Indices, TokenRows

ExcessLength = Literal["drop", "truncate", "raise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a sample must be to stay. `max_len` and `min_len` count tokens."""

    max_len: int
    min_len: int = 2
    excess: ExcessLength = "drop"
    unique: bool = False


def keep(rows: TokenRows, rules: Rules, *, seen: set[bytes] | None = None) -> tuple[Indices, Counter[str]]:
    """The samples that stay, in order, and how many were dropped for which reason.

    `seen` holds digests of samples that count as duplicates from the start; those of the samples that stay are added to it.
    Raises UserError at a sample that is too long when the rules say so.
    """
    dropped: Counter[str] = Counter()
    staying = np.arange(len(rows), dtype=np.int64)

    def drop(gone: np.ndarray, reason: str) -> None:
        nonlocal staying
        if gone.any():
            dropped[reason] += int(gone.sum())
            staying = staying[~gone]

    long = rows.lengths[staying] > rules.max_len
    if long.any() and rules.excess == "raise":
        first = int(np.argmax(long))
        raise UserError(
            Problem(
                code="too-long",
                message=f"{int(long.sum())} samples are longer than sequence_len ({rules.max_len}); the first is sample {first + 1} with {int(rows.lengths[first])} tokens",
                path="excess_length_strategy",
                fix="raise sequence_len, or set `excess_length_strategy: truncate` or `drop`",
            )
        )
    if rules.excess == "drop":
        drop(long, "too_long")
    drop(rows.lengths[staying] < rules.min_len, "too_short")
    trained = rows.trained[staying]
    if rules.excess == "truncate" and long.any():
        trained = trained_within(rows, staying, rules.max_len)
    drop(trained == 0, "nothing_trained")
    if rules.unique:
        drop(_repeated(rows, staying, rules, set() if seen is None else seen), "duplicate")
    return staying, dropped


def trained_within(rows: TokenRows, samples: Indices, limit: int) -> Indices:
    """How many labels of each sample are trained among its first `limit` tokens."""
    counts = rows.trained[samples].copy()
    for position in np.flatnonzero(rows.lengths[samples] > limit):
        (_, labels) = next(rows.samples(samples[position : position + 1], limit=limit))
        counts[position] = int((labels >= 0).sum())
    return counts


def set_aside(samples: Indices, size: float, *, seed: int) -> tuple[Indices, Indices]:
    """(training, evaluation) samples: a share of them for `size` below 1, that many from 1 on; chosen by `seed`, each part in order.

    Raises UserError when nothing would be left to train on.
    """
    if size <= 0:
        return samples, samples[:0]
    count = round(len(samples) * size) if size < 1 else int(size)
    count = max(1, count)
    if count >= len(samples):
        raise UserError(
            Problem(
                code="out-of-range",
                message=f"val_set_size {size:g} takes {count} of {len(samples)} samples and leaves nothing to train on",
                path="val_set_size",
                fix="choose a smaller share or number",
            )
        )
    chosen = np.zeros(len(samples), dtype=bool)
    chosen[np.random.default_rng([seed, 1]).choice(len(samples), size=count, replace=False)] = True
    return samples[~chosen], samples[chosen]


def share(count: int, weight: float, *, seed: int) -> Indices:
    """The rows of a dataset of `count` that a `weight` between 0 and 1 keeps: that share of them, at least one, drawn by `seed`, in order."""
    kept = min(count, max(1, round(count * weight)))
    return np.sort(np.random.default_rng([seed, 3]).choice(count, size=kept, replace=False)).astype(np.int64)


def _repeated(rows: TokenRows, samples: Indices, rules: Rules, seen: set[bytes]) -> np.ndarray:
    repeated = np.zeros(len(samples), dtype=bool)
    for position, (ids, labels) in enumerate(rows.samples(samples, limit=rules.max_len)):
        digest = xxhash.xxh3_128_digest(ids.tobytes() + labels.tobytes())
        repeated[position] = digest in seen
        seen.add(digest)
    return repeated
