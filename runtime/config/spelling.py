"""The known name a misspelt one was meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The name nearest to `word`, or None when none is near. Near means at most a third of its letters differ, and at least one may."""
    limit = max(1, min(4, len(word) // 3))
    lowered = word.lower().replace("-", "_").replace(" ", "_")
    letters, bare, sorted_letters = _letters(lowered), _bare(lowered), sorted(lowered)
    best: tuple[int, bool, int, int, str] | None = None
    for name in known:
        low = name.lower()
        if low == lowered or _bare(low) == bare:
            return name
        if abs(len(low) - len(lowered)) > limit:
            continue
        # Each letter that only one of the two has costs an edit of its own: far cheaper to count than the distance itself.
        other = _letters(low)
        if max(len(letters - other), len(other - letters)) > limit:
            continue
        distance = _distance(lowered, low, limit)
        if distance <= limit:
            rank = (distance, sorted(low) != sorted_letters, -_common_start(lowered, low), abs(len(low) - len(lowered)), name)
            best = rank if best is None else min(best, rank)
            limit = min(limit, distance)
    return best[4] if best else None


@lru_cache(maxsize=4096)
def _bare(word: str) -> str:
    """The word without what separates its parts, so that `qwen2.5` is `qwen_25`."""
    return word.replace("_", "").replace(".", "").replace("-", "")


@lru_cache(maxsize=4096)
def _letters(word: str) -> frozenset[str]:
    return frozenset(word)


def _distance(left: str, right: str, limit: int) -> int:
    """Edits (insert, delete, change, swap of neighbours) from one to the other; anything above `limit` may be reported as `limit + 1`."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        two_before, before, row = before, row, [i]
        for j, b in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, two_before[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return row[-1]


def _common_start(left: str, right: str) -> int:
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    return count
