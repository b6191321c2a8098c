"""Who is writing: a mark in the names of unfinished folders and files, by which a later process tells leftovers from work in progress."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import xxhash

Life = Literal["alive", "dead", "elsewhere"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process: the machine it runs on (since its last boot, and within its container), its id, and when it started."""

    host: str
    pid: int
    started: int

    def __str__(self) -> str:
        return f"{self.host}-{self.pid}-{self.started}"

    def life(self) -> Life:
        """Whether the process still runs; `elsewhere` when this machine cannot know."""
        if self.host != _host():
            return "elsewhere"
        return "alive" if _started(self.pid) == self.started else "dead"


def this_owner() -> Owner:
    """The calling process."""
    pid = os.getpid()
    return Owner(host=_host(), pid=pid, started=_started(pid) or 0)


def work_name(prefix: str) -> str:
    """A name never used before that starts with `prefix` and says who made it."""
    return f"{prefix}{this_owner()}-{secrets.token_hex(4)}"


def owner_of(name: str, prefix: str) -> Owner | None:
    """Who made `name` by `work_name(prefix)`; None when it was not made so."""
    if not name.startswith(prefix):
        return None
    match name.removeprefix(prefix).split("-"):
        case [host, pid, started, _] if pid.isdecimal() and started.isdecimal():
            return Owner(host=host, pid=int(pid), started=int(started))
    return None


@cache
def _host() -> str:
    parts = [socket.gethostname()]
    # After a reboot, or in another container, the same process id is another process.
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(str(Path(path).readlink()) if path.endswith("pid") else Path(path).read_text().strip())
        except OSError:
            parts.append("")
    return xxhash.xxh3_64_hexdigest("\n".join(parts).encode())[:10]


def _started(pid: int) -> int | None:
    """Clock ticks from boot to the start of a running process; None when there is none. 0 where the system does not tell."""
    try:
        # The command name is in brackets and may hold anything; the fields after it start with the state.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else int(fields[19])
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, IndexError, ValueError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return 0
