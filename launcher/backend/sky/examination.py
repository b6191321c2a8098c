"""What is rented and which of it no run needs: pure comparison of SkyPilot's list with the runs known here."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from launcher.backend.protocol import ACTIVE
from launcher.backend.sky.cloud import Cloud, Rented
from runtime.config.problem import Problem
from runtime.record import RunRecord

# SkyPilot calls the cluster of a managed job by the job's name and number.
_OF_JOB = re.compile(r"(?P<name>.+)-(?P<number>\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RentedExamination:
    """`needless` is ours and needed by no run, `needed` is at work, or may be, `foreign` was not started by a run known here. `findings` tell of the first."""

    needless: tuple[Rented, ...]
    needed: tuple[Rented, ...]
    foreign: tuple[Rented, ...]

    @property
    def findings(self) -> list[Problem]:
        """The needless as problems with a way out."""
        return [
            Problem(
                code="needless",
                message=f"{described(thing)}, and no run needs it",
                place=thing.name,
                fix="`launcher doctor --end` gives it back",
            )
            for thing in self.needless
        ]

    def of_run(self, run: str) -> RentedExamination:
        """What of it belongs to one run."""

        def its(things: Sequence[Rented]) -> tuple[Rented, ...]:
            return tuple(
                thing for thing in things if thing.name == run or ((found := _OF_JOB.fullmatch(thing.name)) and found["name"] == run)
            )

        return RentedExamination(needless=its(self.needless), needed=its(self.needed), foreign=())

    @property
    def usd_per_h(self) -> float:
        """What the needless costs an hour, as far as prices are known."""
        return sum(thing.usd_per_h or 0.0 for thing in self.needless)


def examine_rented(rented: Sequence[Rented], runs: Mapping[str, RunRecord], *, unsure: Collection[str] = ()) -> RentedExamination:
    """Sort what is rented by whether one of `runs`, by their names, needs it. What belongs to one of `unsure`, of which nobody knows how it is now, may be
    needed: another computer may have gone on with it."""
    needless: list[Rented] = []
    needed: list[Rented] = []
    foreign: list[Rented] = []
    # A job that is not finished accounts for its own cluster.
    at_work = {(thing.name, thing.number) for thing in rented if thing.kind == "job"}
    for thing in rented:
        if thing.kind == "disk":
            # One in use goes with its machine. One that somebody made apart is theirs to keep, and shown with what it costs.
            if thing.status != "IN_USE":
                (needless if thing.along else foreign).append(thing)
            continue
        match = _OF_JOB.fullmatch(thing.name) if thing.kind == "cluster" else None
        job = (match["name"], int(match["number"])) if match is not None else None
        if job in at_work:
            continue
        run = runs.get(thing.name) or (runs.get(job[0]) if job is not None else None)
        if run is None:
            (needless if thing.kind == "bucket" else foreign).append(thing)
        elif run.run in unsure or (run.state in ACTIVE and job is None):
            needed.append(thing)
        else:
            needless.append(thing)
    return RentedExamination(needless=tuple(needless), needed=tuple(needed), foreign=tuple(foreign))


def described(thing: Rented) -> str:
    """A rented thing in words: what it is, where, in which state, what it costs."""
    kind = {"cluster": "the cluster", "job": f"managed job {thing.number},", "bucket": "the bucket", "disk": "the disk"}[thing.kind]
    where = f" in {thing.where}" if thing.where else ""
    # A disk costs cents.
    price = f", ${thing.usd_per_h:,.{2 if thing.usd_per_h >= 0.1 else 4}f} an hour" if thing.usd_per_h is not None else ""
    return f"{kind} {thing.name}{where} is {thing.status.lower()}{price}"


def end_all(cloud: Cloud, things: Sequence[Rented]) -> None:
    """Give each of them back. Raises UserError at the first that SkyPilot refuses to."""
    for thing in things:
        if thing.kind == "job":
            assert thing.number is not None
            cloud.cancel_job(thing.number)
        elif thing.kind == "bucket":
            cloud.delete_bucket(thing.name)
        elif thing.kind == "disk":
            cloud.delete_disk(thing.name)
        else:
            cloud.end_cluster(thing.name)
