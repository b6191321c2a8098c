"""Watching a run: a live view on a terminal, plain lines elsewhere; leaving it never ends the run."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Literal

from launcher.backend.protocol import ACTIVE, Backend
from launcher.show.curves import sparkline
from launcher.show.runs import duration
from launcher.state.progress import Progress
from runtime.events import Event

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Leave = Literal["ended", "detached"]
_PERIOD_S = 0.2
# The attempt to push, from 1, whose failure is more than a hiccup.
_NOTABLE = 4
_WAITING = ("starting", "recovering")
_STAGES = {
    "data": "preparing data",
    "model": "loading the model",
    "train": "training",
    "evaluate": "evaluating",
    "seal": "sealing a checkpoint",
    "benchmark": "running benchmarks",
    "merge": "merging the adapter",
    "verify": "verifying the model",
    "upload": "sending the model to storage",
}


def follow(backend: Backend, run: str, *, console: Console, quiet: bool = False) -> Leave:
    """How the watching ended: with the run, or by the user leaving it. `console` writes to stderr and decides between the live view and lines.

    On a terminal Ctrl-C asks what is meant; elsewhere it detaches.
    """
    watch = Watch(backend, run)
    if quiet:
        return _plain(watch, say=lambda _: None)
    if console.is_terminal and not console.is_dumb_terminal:
        return _live(watch, console)
    return _plain(watch, say=lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))


class Watch:
    """A run's progress, kept up to date by asking for what is new."""

    def __init__(self, backend: Backend, run: str) -> None:
        self.backend, self.run = backend, run
        self.progress = Progress()
        self.state = "starting"
        self.began = time.monotonic()
        self.news = ""
        """What the run's record says of a wait, when that is new."""
        self._said = ""
        self._events = backend.events(run)

    def look(self) -> tuple[list[Event], bool]:
        """New events, and whether the run has ended; the events of its end are among them."""
        record = self.backend.look(self.run)
        self.state = record.state
        self._said, self.news = record.message, record.message if record.message != self._said and record.state in _WAITING else ""
        events = list(self._events.new())
        for event in events:
            self.progress.apply(event)
        return events, record.state not in ACTIVE


def tell_news(watch: Watch, narrator: Narrator, *, say: Callable[[str], None]) -> bool:
    """Say what has happened since the last look; whether the run has ended."""
    events, ended = watch.look()
    if watch.news:
        say(watch.news)
    for event in events:
        if line := narrator.line(event, watch.progress):
            say(line)
    return ended


def _plain(watch: Watch, *, say: Callable[[str], None]) -> Leave:
    narrator = Narrator()
    with interrupts() as interrupted:
        while True:
            if tell_news(watch, narrator, say=say):
                return "ended"
            if interrupted():
                return "detached"
            time.sleep(_PERIOD_S)


def _live(watch: Watch, console: Console) -> Leave:
    from rich.live import Live

    narrator = Narrator()
    while True:
        with interrupts() as interrupted, Live(console=console, refresh_per_second=8, transient=True) as live:
            while not interrupted():
                events, ended = watch.look()
                if watch.news:
                    live.console.print(watch.news, highlight=False, markup=False)
                for event in events:
                    if event["kind"] != "loss" and (line := narrator.line(event, watch.progress)):
                        live.console.print(line, highlight=False, markup=False)
                live.update(_screen(watch, console.width))
                if ended:
                    return "ended"
                time.sleep(_PERIOD_S)
        match _ask(console):
            case "detach":
                return "detached"
            case "stop":
                console.print("asking it to stop at a sealed checkpoint …")
                watch.backend.stop(watch.run)
            case "continue":
                pass


def _ask(console: Console) -> Literal["detach", "stop", "continue"]:
    answers: dict[str, Literal["detach", "stop", "continue"]] = {"d": "detach", "s": "stop", "c": "continue"}
    while True:
        try:
            answer = console.input("[b]d[/b]etach (the run goes on), [b]s[/b]top at a sealed checkpoint, or [b]c[/b]ontinue watching? ")
        except (EOFError, KeyboardInterrupt):
            # A second Ctrl-C wants to be out; the run is not harmed by that.
            return "detach"
        if (choice := answers.get(answer.strip().lower()[:1])) is not None:
            return choice


def _screen(watch: Watch, width: int) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    progress = watch.progress
    head = Text.assemble((watch.run, "bold"), "  ", _stage_words(watch), "  ", (duration(time.monotonic() - watch.began), "dim"))
    rows: list[RenderableType] = [head]
    done, total = (progress.step, progress.total_steps) if progress.stage == "train" else (progress.stage_done, progress.stage_total)
    if total:
        bar = Table.grid(padding=(0, 2))
        eta = f"{duration(progress.eta_s)} left" if progress.stage == "train" and progress.eta_s is not None else ""
        bar.add_row(ProgressBar(total=total, completed=done or 0, width=max(10, min(48, width - 40))), f"{done or 0}/{total}", eta)
        rows.append(bar)
    if progress.losses:
        latest = progress.latest
        facts = [f"loss {progress.losses[max(progress.losses)]:.4f}"]
        if isinstance(latest.get("tokens_per_s"), int | float):
            facts.append(f"{latest['tokens_per_s']:,.0f} tok/s")
        if isinstance(latest.get("memory_gib"), int | float):
            facts.append(f"{latest['memory_gib']:.2f} GiB")
        if progress.checkpoint_steps:
            facts.append(f"sealed at step {progress.checkpoint_steps[-1]}")
        rows.append(Text("  ".join(facts)))
        rows.append(
            Text(sparkline([progress.losses[step] for step in sorted(progress.losses)], width=max(10, min(60, width - 2))), style="cyan")
        )
    return Group(*rows)


def _stage_words(watch: Watch) -> str:
    return _STAGES.get(watch.progress.stage, watch.state)


class Narrator:
    """Tells a run's events in lines: about twenty steps of it, the first and the last among them, and each stage once."""

    def __init__(self) -> None:
        self._next_step = 0
        self._stage = ""

    def line(self, event: Event, progress: Progress) -> str | None:
        """The event in words, None for one that is not worth a line."""
        step = event.get("step")
        match event["kind"]:
            case "started":
                self._next_step, self._stage = 0, ""
                return f"attempt {event.get('attempt', '?')} started"
            case "stage":
                return self._stage_line(str(event.get("name", "")))
            case "loss" if isinstance(step, int) and isinstance(event.get("loss"), int | float):
                return self._step_line(step, event, progress.total_steps)
            case _:
                return _event_line(event, step)

    def _stage_line(self, name: str) -> str | None:
        if name == self._stage:
            return None
        self._stage = name
        return None if name in ("train", "seal") else _STAGES.get(name)

    def _step_line(self, step: int, event: Event, total: int | None) -> str | None:
        self._stage = "train"
        if step < self._next_step and step != total:
            return None
        self._next_step = step + max(1, (total or 100) // 20)
        speed = f", {event['tokens_per_s']:,.0f} tok/s" if isinstance(event.get("tokens_per_s"), int | float) else ""
        return f"step {step}" + (f"/{total}" if total else "") + f": loss {event['loss']:.4f}{speed}"


def _event_line(event: Event, step: object) -> str | None:
    match event["kind"]:
        case "prepared":
            return f"data: {event.get('rows_in', '?')} rows in, {event.get('rows_out', '?')} used, {event.get('tokens', 0):,} tokens"
        case "probe" if isinstance(event.get("peak_gib"), int | float) and isinstance(event.get("room_gib"), int | float):
            lowered = f", with the micro batch lowered to {event.get('micro_batch')}" if event.get("lowered_from") else ""
            expected = event.get("expected_gib")
            against = f", {expected:.1f} GiB were expected" if isinstance(expected, int | float) else ""
            return f"the fullest step needs {event['peak_gib']:.1f} GiB of {event['room_gib']:.1f} GiB{against}{lowered}"
        case "eval" if isinstance(event.get("loss"), int | float):
            return f"evaluation at step {step}: loss {event['loss']:.4f}"
        case "checkpoint":
            return f"sealed the checkpoint of step {step}"
        case "pushed":
            return f"pushed step {step} to {event.get('url')}"
        case "push_retry" if event.get("attempt") == _NOTABLE:
            return f"the Hub does not take what is pushed and is asked again: {event.get('message')}"
        case "push_failed":
            return f"step {step} was not pushed to the Hub: {event.get('message')}"
        case "store_failing":
            return f"the store fails and is asked again: {event.get('message')}"
        case "store_keeps":
            return f"checkpoints that are not to be kept stay in the store: {event.get('message')}"
        case "store_deletes":
            return "what is not to be kept could be deleted from the store"
        case "upload_failed":
            return f"{f'step {step}' if isinstance(step, int) else event.get('path')} was not stored: {event.get('message')}"
        case "fenced":
            return str(event.get("message"))
        case "store_answers" if isinstance(event.get("seconds"), int | float):
            return f"the store answers again, after {event['seconds']:.0f} s"
        case "uploaded":
            return f"stored at {event.get('url')}"
        case "weights":
            return f"sealed the weights of step {step}; there was no time for a full checkpoint"
        case "save_interval" if isinstance(event.get("seconds"), int | float):
            return f"saving every {event['seconds'] / 60:.3g} min, as a save holds training up for {event.get('save_s', 0):.3g} s"
        case "preemption_hint":
            return f"saving early: {event.get('reason')}"
        case "preempted":
            left = f", {event['deadline_s']:g} s left" if isinstance(event.get("deadline_s"), int | float) else ""
            return f"preempted: {event.get('reason') or 'notice received'}{left}"
        case "resumed":
            skipped = f" ({len(event['skipped'])} skipped)" if event.get("skipped") else ""
            return (
                str(event["reason"]) if event.get("reason") else f"resuming from step {event.get('from_step')}: {event.get('path')}"
            ) + skipped
        case "died" if isinstance(event.get("exit_status"), int) and event["exit_status"] >= 0:
            return f"attempt {event.get('attempt')} ended with {_exit_words(event['exit_status'])}"
        case "died":
            return f"the training process died ({_exit_words(event.get('exit_status'))}) in attempt {event.get('attempt')}"
        case "trained":
            return f"trained {event.get('steps')} steps"
        case "benchmark" if isinstance(event.get("scores"), dict):
            return "benchmark: " + "; ".join(_first_score(task, scores) for task, scores in event["scores"].items() if scores)
        case "benchmark_failed":
            return f"the benchmark failed, the model is sealed: {event.get('message')}"
        case "merged":
            return f"merged into {event.get('path')}"
        case "verified":
            return f"verified {event.get('path')}"
        case "published":
            return f"published to {event.get('url')}"
        case "failed":
            return f"failed: {event.get('message')}" + (f"\n  {event['fix']}" if event.get("fix") else "")
        case "stopped":
            return "stopped"
        case _:
            return None


def _first_score(task: str, scores: dict[str, float]) -> str:
    measure, value = next(iter(scores.items()))
    return f"{task} {measure} {value:.4g}"


def _exit_words(status: object) -> str:
    if isinstance(status, int) and status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    return f"exit code {status}"


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """A function that tells whether Ctrl-C was pressed inside the block; it raises nothing there, so no look at the run is cut in half."""
    pressed: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        pressed.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
