"""The machines of a run, as one of its processes meets them before it trains."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass

from runtime.checkpoint.board import Board
from runtime.checkpoint.disk import explained
from runtime.checkpoint.staging import sweep_staging
from runtime.checkpoint.word import lasting_word
from runtime.config.problem import Problem, UserError
from runtime.training.board import open_board
from runtime.training.disks import Disk, find_disk
from runtime.training.folder import RunFolder, claimed
from runtime.training.job import Job
from runtime.training.processes import WAIT_S, write_verdict
from runtime.training.vigil import Machine, Vigil


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """What all processes of a run agree on: the run's name and attempt and the names of what it sends, as its first process has them, and which disk is whose.

    `board` is there where the machines have disks of their own.
    """

    disk: Disk
    serves: bool
    run: str
    attempt: int
    word: str = ""
    board: Board | None = None

    @property
    def writer(self) -> str:
        """What the names of the objects this run sends begin with."""
        return f"{self.attempt}-{self.word}"


def meet(job: Job) -> Company:
    """The company of this process. Every process must call it, after they have met.

    Where the machines have disks of their own, raises UserError on all processes when the recipe names no storage to bring together what each of them
    holds, or asks for copies of checkpoints on the Hub, and when another process trains in the folder of one of them.
    """
    rank, folder = job.rank, job.folder
    disk = find_disk(rank, folder)
    serves = disk.is_served_by(rank)
    run, attempt = rank.share((job.run, job.surroundings.attempt))
    if not disk.apart:
        return Company(disk=disk, serves=serves, run=run, attempt=attempt)
    if job.config.launch.storage is None:
        raise UserError(_no_storage(disk))
    _leave_out_copies(job)
    claim = claimed(folder, run=job.surroundings.run) if serves and not rank.is_main else nullcontext()
    rank.together(lambda: job.ends.enter_context(claim))
    rank.together((lambda: _sweep(folder)) if serves else None)
    word: str = rank.led(lambda: lasting_word(folder.path, attempt=attempt))
    board = open_board(rank)
    vigil = Vigil(
        board,
        index=rank.index,
        count=rank.world_size,
        machine=Machine(index=disk.index, count=disk.count, speaks=serves),
        leave=lambda failure: _leave(job, failure),
        say=job.progress.say,
        patience_s=job.config.ddp_timeout or WAIT_S,
    )
    job.vigils.append(vigil)
    return Company(disk=disk, serves=serves, run=run, attempt=attempt, word=word, board=board)


def _sweep(folder: RunFolder) -> None:
    for place in (folder.path, folder.checkpoints, folder.portions):
        with explained(place):
            sweep_staging(place)


def _leave(job: Job, failure: UserError) -> None:
    """End this process, whose main thread waits for what does not come any more, once what is being sent has had its time."""
    for finish in job.lasts:
        finish()
    if job.surroundings.verdict is not None:
        write_verdict(job.surroundings.verdict, int(failure.exit_code), failure.problems)
    else:
        print(failure, file=sys.stderr, flush=True)  # noqa: T201 - there is no one else to say it
    os._exit(int(failure.exit_code))


def _no_storage(disk: Disk) -> Problem:
    return Problem(
        code="missing",
        path="launch.storage",
        message=f"the machines of this run have {disk.count} disks, each with a part of every checkpoint, and no storage to bring them together",
        fix="set launch.storage, or output_dir to a folder that all machines share",
    )


def _leave_out_copies(job: Job) -> None:
    """Say that checkpoints are not pushed to the Hub while training. Raises UserError when the recipe asks for it in so many words."""
    config = job.config
    if config.hub_model_id and config.hub_strategy is None:
        job.progress.say("checkpoints are not pushed to the Hub, as each machine holds a part of them; the model is, at the end")
    elif config.hub_model_id and config.hub_strategy != "end":
        raise UserError(
            Problem(
                code="conflict",
                path="hub_strategy",
                message=f"{config.hub_strategy} pushes whole checkpoints from one disk, and here each machine holds a part of them on its own",
                fix="set hub_strategy: end, or output_dir to a folder that all machines share",
            )
        )
