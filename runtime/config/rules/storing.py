"""Rules about where checkpoints are kept."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.problem import UserError
from runtime.config.schema import TrainingConfig
from runtime.config.storage import parse_address


def storage_is_an_address(config: TrainingConfig) -> Iterator[Finding]:
    """What `launch.storage` names is a kind of store that is known, written as its addresses are."""
    if config.launch.storage is None:
        return
    try:
        parse_address(config.launch.storage)
    except UserError as error:
        for problem in error.problems:
            yield Finding(
                code="unknown-name" if problem.code == "unknown-name" else "unsupported" if problem.code == "unsupported" else "wrong-type",
                path=("launch", "storage"),
                message=f"{problem.place}: {problem.message}",
                fix=problem.fix,
                suggestion=problem.suggestion,
            )


RULES = (storage_is_an_address,)
