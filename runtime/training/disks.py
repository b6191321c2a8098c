"""Which processes of a run write to one disk: found by trying, since no address or name tells it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.checkpoint.disk import explained
from runtime.config.problem import Problem, UserError
from runtime.training.folder import RunFolder, create

if TYPE_CHECKING:
    from runtime.training.processes import Rank

# A network file system may show a new file a moment late.
_LATE_S = 1.0
_PERIOD_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The disk this process writes to: which of the run's disks it is, of how many, and the first process of those that share it."""

    index: int = 0
    count: int = 1
    first: int = 0

    @property
    def apart(self) -> bool:
        """Whether the run has several disks, so that no process sees all that is written."""
        return self.count > 1

    def is_served_by(self, rank: Rank) -> bool:
        """Whether this is the process that seals and sends what lies on this disk."""
        return rank.index == self.first


def find_disk(rank: Rank, folder: RunFolder, *, sleep: Callable[[float], None] = time.sleep) -> Disk:
    """The disk that `folder` is on for this process. Every process must call it.

    One process of each machine leaves a file there, and each looks which of them it sees. Raises UserError, on all processes, when one cannot write
    there, or when two do not see each other alike.
    """
    if rank.world_size == 1:
        return Disk()
    mark = folder.path / f".disk-{secrets.token_hex(8)}" if rank.local == 0 else None
    try:
        rank.together(None if mark is None else lambda: _leave(folder, mark))
        names = rank.gather(None if mark is None else mark.name)
        seen = rank.gather(_seen(folder.path, names, sleep=sleep))
    finally:
        if mark is not None:
            with suppress(OSError):
                mark.unlink(missing_ok=True)
    return shared_by(seen, rank.index)


def shared_by(seen: Sequence[frozenset[int]], index: int) -> Disk:
    """The disk of process `index`, where each process has `seen` the files of some processes. Raises UserError when two do not see each other alike."""
    disks = list(dict.fromkeys(seen))
    for disk in disks:
        sharing = {other for other, its in enumerate(seen) if its == disk}
        if not disk or not disk <= sharing:
            raise UserError(
                Problem(
                    code="unsteady-disk",
                    path="output_dir",
                    message="some machines of this run see in output_dir what others write, and are not seen by them, or too late",
                    fix="set output_dir to a folder that all machines share, or to one on each machine's own disk",
                )
            )
    own = seen[index]
    return Disk(index=disks.index(own), count=len(disks), first=seen.index(own))


def _leave(folder: RunFolder, mark: Path) -> None:
    create(folder)
    with explained(folder.path):
        mark.touch()


def _seen(folder: Path, names: Sequence[str | None], *, sleep: Callable[[float], None]) -> frozenset[int]:
    """The processes whose files are seen here; those that are not are looked for a little longer."""
    found: set[int] = set()
    for _ in range(int(_LATE_S / _PERIOD_S)):
        # Opened by name: a listing may be an old one.
        found |= {index for index, name in enumerate(names) if name is not None and index not in found and _is_there(folder / name)}
        if len(found) == sum(name is not None for name in names):
            break
        sleep(_PERIOD_S)
    return frozenset(found)


def _is_there(path: Path) -> bool:
    try:
        path.open("rb").close()
    except OSError:
        return False
    return True
