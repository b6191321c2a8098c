"""Looking into a few steps: what runs when, what holds memory, and where the host waits for the device."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from runtime.record import write_atomic

if TYPE_CHECKING:
    from runtime.training.session import Session

FOLDER = "profile"
_SYNC_SIGN = "synchronizing CUDA operation"


class Window(TrainerCallback):
    """Calls `begin` before optimizer step `first` + 1 and `end` after `count` steps, or when training ends earlier; nothing when resumed past its begin."""

    def __init__(self, first: int, count: int, begin: Callable[[], None], end: Callable[[int, int], None]) -> None:
        self._first = first
        self._count = count
        self._begin = begin
        self._end = end
        self._open = False

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """The next step may be the first of the window."""
        if not self._open and state.global_step == self._first:
            self._open = True
            self._begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """This step may be the last of the window."""
        if self._open and state.global_step >= self._first + self._count:
            self._close(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Training may end inside the window."""
        if self._open:
            self._close(state.global_step)

    def _close(self, step: int) -> None:
        self._open = False
        self._end(self._first + 1, step)


def profiler(config: Any, session: Session, folder: Path, *, cuda: bool) -> Window | None:
    """What records `profiler_steps` steps: a trace for chrome://tracing or Perfetto, and on a GPU the allocator's history for pytorch.org/memory_viz.

    Both lie in the folder `profile` of the run, for each process. None when no steps are asked for.
    """
    if not config.profiler_steps:
        return None
    import torch

    activities = [torch.profiler.ProfilerActivity.CPU] + ([torch.profiler.ProfilerActivity.CUDA] if cuda else [])
    recorder = torch.profiler.profile(activities=activities, profile_memory=True, record_shapes=True)

    def begin() -> None:
        if cuda:
            torch.cuda.memory._record_memory_history(max_entries=1_000_000)
        recorder.start()

    def end(first: int, last: int) -> None:
        recorder.stop()
        target = _named(folder, f"steps-{first}-{last}-rank-{session.rank.index}")
        trace = target.with_suffix(".json")
        recorder.export_chrome_trace(str(trace))
        _compress(trace)
        if cuda:
            torch.cuda.memory._dump_snapshot(str(target.with_suffix(".pickle")))
            torch.cuda.memory._record_memory_history(enabled=None)
        session.emit("profiled", last, first=first, path=str(target.parent))
        session.progress.say(f"steps {first} to {last} were profiled: {target.parent}")

    return Window(config.profiler_steps_start or 0, config.profiler_steps, begin, end)


def sync_profiler(config: Any, session: Session, folder: Path) -> Window | None:
    """What counts, for `sync_profiler_steps` steps, the lines of code at which the host waits for the GPU; written to `profile` as JSON, most frequent first.

    None when no steps are asked for. On a machine without a GPU the recipe is refused before.
    """
    if not config.sync_profiler_steps:
        return None
    import torch

    places: Counter[str] = Counter()
    shown = warnings.showwarning
    filters: list[Any] = []

    def note(message: Any, category: Any, filename: str, lineno: int, *rest: Any) -> None:
        if _SYNC_SIGN in str(message):
            places[_caller(filename, lineno)] += 1
        else:
            shown(message, category, filename, lineno, *rest)

    def begin() -> None:
        filters[:] = warnings.filters
        warnings.filterwarnings("always", message=f".*{_SYNC_SIGN}.*")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")

    def end(first: int, last: int) -> None:
        torch.cuda.set_sync_debug_mode("default")
        warnings.showwarning = shown
        warnings.filters[:] = filters  # type: ignore[index]
        target = _named(folder, f"syncs-{first}-{last}-rank-{session.rank.index}").with_suffix(".json")
        found = [{"place": place, "times": times} for place, times in places.most_common()]
        write_atomic(target, json.dumps({"first": first, "last": last, "places": found}, indent=1).encode() + b"\n")
        session.emit("syncs", last, first=first, waits=sum(places.values()), places=len(places), path=str(target))
        session.progress.say(
            f"steps {first} to {last}: the host waited {sum(places.values())} times at {len(places)} places, listed in {target}"
        )

    return Window(config.sync_profiler_start_step or 0, config.sync_profiler_steps, begin, end)


def _caller(filename: str, lineno: int) -> str:
    """The place, and the nearest lines of this project and of transformers that led there: the line inside torch alone says little."""
    frames, frame = [], sys._getframe(2)
    while frame is not None and len(frames) < 3:
        name = frame.f_code.co_filename
        if any(part in name for part in ("/runtime/", "/transformers/", "/accelerate/", "/peft/")) and (name, frame.f_lineno) != (
            filename,
            lineno,
        ):
            frames.append(f"{name}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return " < ".join([f"{filename}:{lineno}", *frames])


def _named(folder: Path, name: str) -> Path:
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    return folder / FOLDER / name


def _compress(trace: Path) -> None:
    with trace.open("rb") as plain, gzip.open(trace.with_suffix(".json.gz"), "wb") as packed:
        shutil.copyfileobj(plain, packed)
    trace.unlink()
