"""Deaths on purpose (`--chaos`), checked before a run starts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from runtime.config.problem import Problem, UserError

_ITEM = re.compile(r"kill@\d+|preempt@\d+(:\d+(\.\d+)?)?")


def check_chaos(items: Sequence[str]) -> tuple[str, ...]:
    """The items one by one, commas resolved. Raises UserError for any that is not `kill@STEP` or `preempt@STEP[:SECONDS]`."""
    parts = tuple(part.strip() for item in items for part in item.split(",") if part.strip())
    wrong = [part for part in parts if not _ITEM.fullmatch(part)]
    if wrong:
        raise UserError(
            [
                Problem(
                    code="usage",
                    place="--chaos",
                    message=f"'{part}' is not a planned death",
                    fix="write kill@STEP, preempt@STEP or preempt@STEP:SECONDS",
                )
                for part in wrong
            ]
        )
    return parts
