"""Processes and process groups by identity: a pid alone may by now belong to somebody else."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

# The kernel counts a start time in ticks since boot, and boot time itself moves with clock corrections.
_START_TOLERANCE_S = 2.0
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def start_time(pid: int) -> float | None:
    """When process `pid` started, in Unix seconds; None when there is no such process."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def group_members(group: int | None, started: float | None) -> list[int]:
    """Living processes of the group whose leader had pid `group` and started at `started`; zombies do not count.

    The kernel gives no new process the number of a group that still has members, so members without a leader are ours, and a leader with another start
    time means that the number was given away after all of ours had gone.
    """
    if group is None:
        return []
    leader = start_time(group)
    if leader is not None and started is not None and abs(leader - started) > _START_TOLERANCE_S:
        return []
    return [
        process.pid
        for process in psutil.process_iter(["pid", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and _group_of(process.pid) == group
    ]


def end_group(
    group: int | None,
    started: float | None,
    *,
    grace_s: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Whether the group ended by itself within `grace_s` seconds of a SIGTERM to its leader; it is killed otherwise, so it is gone either way."""
    if group is None or not group_members(group, started):
        return True
    give_up = clock() + grace_s
    if grace_s > 0:
        # The leader alone: it tells its own workers in its own order.
        _send(group, signal.SIGTERM)
        while clock() < give_up and _is_living(group):
            pause(0.05)
    ended = not _is_living(group) and grace_s > 0
    kill_group(group, started)
    return ended


def kill_group(group: int, started: float | None) -> None:
    """SIGKILL whatever lives in the group and wait until it is gone."""
    for _ in range(200):
        if not group_members(group, started):
            return
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.02)


def adopt_orphans() -> None:
    """Have processes that lose their parent below this one become its own children (Linux), so that `end_descendants` finds them."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> None:
    """Kill and reap whatever still lives below this process: workers that left their leader's group, and outlived it."""
    children = psutil.Process().children(recursive=True)
    for process in children:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(children, timeout=5)


def _is_living(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
