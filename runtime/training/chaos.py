"""Deaths on purpose: a run kills or preempts itself at a given step, once, so that its recovery can be seen."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.config.problem import Problem, UserError
from runtime.record import write_atomic

_ITEM = re.compile(r"(kill)@(\d+)|(preempt)@(\d+)(?::(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One planned death: `kill` right after optimizer step `step`, or a preemption notice then, with `deadline_s` seconds left to live."""

    kind: Literal["kill", "preempt"]
    step: int
    deadline_s: float = 30.0
    text: str = ""


def parse_chaos(text: str) -> list[Blow]:
    """The blows in `kill@7,preempt@12:5`. Raises UserError for anything else."""
    blows = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise UserError(
                Problem(
                    code="wrong-type",
                    place="LAUNCHER_CHAOS",
                    message=f"{item!r} is no chaos",
                    fix="kill@STEP, preempt@STEP or preempt@STEP:SECONDS",
                )
            )
        if match[1]:
            blows.append(Blow(kind="kill", step=int(match[2]), text=item))
        else:
            blows.append(Blow(kind="preempt", step=int(match[4]), deadline_s=float(match[5] or 30), text=item))
    return blows


class Chaos:
    """The blows of a run that have not been struck yet. What was struck is on disk before it is felt, so each strikes once in the life of a run."""

    def __init__(self, blows: Sequence[Blow], journal: Path) -> None:
        self._journal = journal
        self._struck: list[str] = _read(journal)
        left = Counter(self._struck)
        self._waiting: list[Blow] = []
        for blow in blows:
            if left[blow.text]:
                left[blow.text] -= 1
            else:
                self._waiting.append(blow)

    def due(self, step: int) -> Blow | None:
        """The blow to strike after optimizer step `step`, if any."""
        return next((blow for blow in self._waiting if blow.step == step), None)

    def strike(self, blow: Blow, *, writes: bool) -> None:
        """Note `blow` as struck; durable on disk when this process `writes`."""
        self._waiting.remove(blow)
        self._struck.append(blow.text)
        if writes:
            write_atomic(self._journal, json.dumps({"fired": self._struck}).encode())


def kill_now() -> None:
    """End this process as a power cut would: no handler runs, nothing is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after(seconds: float, kill: Callable[[], None] = kill_now) -> threading.Timer:
    """A started timer that kills this process after `seconds`, as a cloud does when its notice has run out."""
    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    return timer


def _read(journal: Path) -> list[str]:
    try:
        fired = json.loads(journal.read_text(encoding="utf-8"))["fired"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [item for item in fired if isinstance(item, str)]
