"""What is asked of SkyPilot: a Protocol as small as that, so that everything above it works with another one in tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Phase = Literal["waiting", "starting", "running", "recovering", "done", "failed", "no-capacity", "set-up-failed", "cancelled", "gone"]
"""How far SkyPilot is with a job. `waiting`: no machine yet; `gone`: SkyPilot knows it no more."""

ENDED: frozenset[Phase] = frozenset({"done", "failed", "no-capacity", "set-up-failed", "cancelled", "gone"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A job as SkyPilot sees it; `detail` is its own sentence about it."""

    phase: Phase
    detail: str = ""
    recoveries: int = 0
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rented:
    """Something that may cost money: a cluster, a managed job with whatever it holds, a bucket that SkyPilot made for a job's files, or a disk apart from
    any machine. `usd_per_h` is None where no price is known; `along` says that a disk was made along with a cluster and was to go with it."""

    kind: Literal["cluster", "job", "bucket", "disk"]
    name: str
    number: int | None
    status: str
    where: str
    usd_per_h: float | None
    since: float | None = None
    along: bool = False


class Cloud(Protocol):
    """SkyPilot. Methods raise UserError: exit 4 when no machine is to be had, exit 8 for what needs a login or a running API server."""

    def require(self) -> None:
        """Raise UserError (exit 8) when SkyPilot is not there at all; asks nobody."""
        ...

    def launch_job(
        self,
        task: str,
        *,
        name: str,
        variables: Mapping[str, str],
        secrets: Mapping[str, str],
        hidden: Collection[str],
        report: Callable[[str], None],
    ) -> int:
        """Submit the task as a managed job; its number. `report` is told SkyPilot's progress line by line. SkyPilot keeps `secrets` in files of its
        own; what of this process's environment is `hidden` it does not see."""
        ...

    def launch_cluster(
        self,
        task: str,
        *,
        name: str,
        variables: Mapping[str, str],
        secrets: Mapping[str, str],
        hidden: Collection[str],
        report: Callable[[str], None],
    ) -> int:
        """Start a cluster of that name with the task on it, and wait until it runs; the job's number there. Otherwise as `launch_job`."""
        ...

    def job(self, number: int) -> Seen:
        """A managed job as it is now."""
        ...

    def find_job(self, name: str) -> int | None:
        """The number of the newest unfinished managed job of that name; None when there is none."""
        ...

    def cluster_job(self, name: str, number: int | None) -> Seen:
        """A job on a cluster as it is now; the newest there without a number."""
        ...

    def printed(self, name: str, number: int | None, *, managed: bool) -> str:
        """The last lines of what a job printed, the set-up of its machine included; `name` is its cluster's. Empty when there are none."""
        ...

    def cancel_job(self, number: int) -> None:
        """Cancel a managed job and give its machines back; nothing for one that has ended."""
        ...

    def end_cluster(self, name: str) -> None:
        """Give a cluster back, disks included; nothing for one that is gone."""
        ...

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket that SkyPilot made."""
        ...

    def delete_disk(self, name: str) -> None:
        """Delete a disk that no machine uses, with what is on it."""
        ...

    def rented(self) -> Sequence[Rented]:
        """Every cluster, every unfinished managed job, every disk apart from machines, and every bucket that SkyPilot made for the files of a job and none
        needs any more."""
        ...
