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


def the_hub_is_no_only_copy(config: TrainingConfig) -> Iterator[Finding]:
    """A run on a rented machine does not keep its checkpoints on the Hub alone.

    The machine's disk goes with the machine, so there the storage is the only copy. The Hub takes a limited number of commits an hour and may turn a
    push away for minutes; it is a good second place, next to this machine's disk or an object store.
    """
    if _kind(config) == "hf" and config.launch.rented:
        yield Finding(
            code="conflict",
            path=("launch", "storage"),
            message="a rented machine takes its disk with it, and the Hub must not be the only copy of a running training",
            fix="name an object store or a volume here, and push copies to the Hub with hub_model_id and hub_strategy: checkpoint",
        )


def the_hub_is_not_slowed(config: TrainingConfig) -> Iterator[Finding]:
    """`launch.upload_mb_per_s` needs a storage whose sending is ours to slow."""
    if config.launch.upload_mb_per_s is None:
        return
    if config.launch.storage is None:
        yield Finding(
            code="conflict",
            path=("launch", "upload_mb_per_s"),
            message="without a storage nothing is uploaded while training",
            fix="set launch.storage, or remove this",
        )
    elif _kind(config) == "hf":
        yield Finding(
            code="conflict",
            path=("launch", "upload_mb_per_s"),
            message="files go to the Hub by its own library, which takes no limit",
            fix="remove it, or use another storage",
        )


def kept_steps_need_a_limit(config: TrainingConfig) -> Iterator[Finding]:
    """`launch.keep_every_steps` says what is spared where `save_total_limit` deletes."""
    if config.launch.keep_every_steps is not None and config.save_total_limit is None:
        yield Finding(
            code="conflict",
            path=("launch", "keep_every_steps"),
            message="every checkpoint is kept as it is: save_total_limit is not set",
            fix="set save_total_limit to the number of newest checkpoints to keep besides, or remove this",
        )


def _kind(config: TrainingConfig) -> str:
    try:
        return parse_address(config.launch.storage).kind if config.launch.storage is not None else ""
    except UserError:
        return ""


RULES = (storage_is_an_address, the_hub_is_no_only_copy, the_hub_is_not_slowed, kept_steps_need_a_limit)
