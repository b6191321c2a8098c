"""A training process: its own process group, its output in the run's log, ended when its supervisor dies."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.backend.local.processes import start_time

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A started process that leads its own group."""

    process: subprocess.Popen[bytes]
    started: float

    @property
    def pid(self) -> int:
        """Pid of the leader and number of its group."""
        return self.process.pid

    def poll(self) -> int | None:
        """Exit status, minus the signal number for a death by signal; None while it lives."""
        return self.process.poll()


def start_child(arguments: Sequence[str], *, environment: Mapping[str, str], cwd: Path, log: Path) -> Child:
    """Start `arguments` in a new process group, appending its output to `log`. Raises OSError when it cannot be started.

    On Linux the kernel sends it SIGTERM, which means seal and end, should the thread that called this die.
    """
    with log.open("ab") as stream:
        process = subprocess.Popen(
            list(arguments),
            env=dict(environment),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            process_group=0,
            # Safe here: the supervisor has one thread, and the function only makes two system calls.
            preexec_fn=_tie_to_parent(),
        )
    return Child(process=process, started=start_time(process.pid) or 0.0)


def _tie_to_parent() -> Callable[[], None]:
    parent = os.getpid()
    prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None

    def tie() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
            # The parent may have died before the line above took effect.
            if os.getppid() != parent:
                os._exit(128 + signal.SIGTERM)

    return tie
