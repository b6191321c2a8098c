"""The supervisor of one run: a light, detached process that starts training, starts it again after a kill, and records how it ended.

`python -m launcher.backend.local.supervisor RUN_DIR` serves the run whose state folder is RUN_DIR. SIGTERM asks for a stop at a sealed checkpoint.
It is the only writer of the run's record while it lives, and its lock, not a pid, says that it lives.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from launcher.backend.local.child import Child, start_child
from launcher.backend.local.child_environment import attempt_variables, training_environment
from launcher.backend.local.notice import clear_notice, read_notice, write_notice
from launcher.backend.local.overseer import Overseer
from launcher.backend.local.processes import adopt_orphans, end_descendants, end_group, kill_group
from launcher.backend.local.recovery import Death, Verdict, judge, was_signalled
from launcher.backend.local.runtime_path import runtime_only_path
from launcher.state.lock import is_held, take
from launcher.state.outputs import final_folder, newest_sealed_step
from launcher.state.runs import RunFolder
from launcher.state.tail import EventTail, last_lines
from runtime.config.problem import ExitCode, UserError
from runtime.events import EventLog
from runtime.record import Attempt, RunRecord, RunState

_PERIOD_S = 0.15
_TURN_PERIOD_S = 0.5
_MAX_PUBLISH_DEATHS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The part of the recipe a supervisor works by."""

    grace_s: float
    max_deaths: int
    max_hours: float | None
    secrets: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """One submission of a run, from its first attempt to its last word in the record."""

    folder: RunFolder
    record: RunRecord
    terms: Terms
    environment: Mapping[str, str]
    runtime_path: Path
    stop_asked: str = ""
    overseer: Overseer | None = None
    """Who looks after a rented machine; None where nobody has to."""
    leaving: bool = False
    """The machine goes away, and the run goes on elsewhere."""
    together: bool = False
    """Several machines train: a process that dies here takes the others' along, and they begin again together, elsewhere."""
    _began: float = field(default_factory=time.monotonic)
    _tail: EventTail = field(init=False)
    _preempted: bool = False

    def __post_init__(self) -> None:
        events = Path(self.record.output_dir) / "events.jsonl"
        self._tail = EventTail(events, offset=events.stat().st_size if events.exists() else 0)

    def run(self) -> ExitCode:
        """Train until it is done, stopped or hopeless, then publish; returns the run's exit code, which the record holds too."""
        self.record.supervisor_pid = os.getpid()
        self.record.exit_code, self.record.message = None, ""
        if not self._wait_for_turn():
            return self.end(
                Verdict(action="end", state="stopped", exit_code=ExitCode.INTERRUPTED, message=f"{self.stop_asked}; it had not begun")
            )
        output_dir = Path(self.record.output_dir)
        deaths, sealed = 0, newest_sealed_step(output_dir)
        verdict = Verdict(action="publish" if final_folder(output_dir) is not None else "restart")
        while verdict.action == "restart":
            status = self._train()
            now_sealed = newest_sealed_step(output_dir)
            deaths, sealed = (1 if now_sealed > sealed else deaths + 1), max(sealed, now_sealed)
            death = Death(
                exit_status=status,
                stop_asked=self.stop_asked,
                preempted=self._preempted,
                sealed_step=sealed,
                deaths_without_progress=deaths,
                trained=final_folder(output_dir) is not None,
            )
            preempted = self._preempted and status == ExitCode.INTERRUPTED
            self.leaving = self.leaving or (self.overseer is not None and (preempted or (self.together and was_signalled(status))))
            verdict = self._moved_on() if self.leaving and status != ExitCode.OK else judge(death, max_deaths=self.terms.max_deaths)
            if verdict.action == "restart" and not self._pause(verdict.pause_s):
                verdict = judge(
                    Death(
                        exit_status=int(ExitCode.INTERRUPTED),
                        stop_asked=self.stop_asked,
                        preempted=False,
                        sealed_step=sealed,
                        deaths_without_progress=deaths,
                    ),
                    max_deaths=0,
                )
        if verdict.action == "publish":
            verdict = self._publish()
        return self.end(verdict)

    def ask_stop(self, reason: str) -> None:
        """Note that the run shall stop; the loop that watches the child acts on it."""
        self.stop_asked = self.stop_asked or reason

    def _wait_for_turn(self) -> bool:
        """Whether it is this run's turn: the run before it on this machine has ended, whatever way. False when a stop was asked for first."""
        if self.record.after is None:
            return True
        before = RunFolder(path=self.folder.path.parent / self.record.after)
        if is_held(before.lock_path):
            self.record.message = f"waits for the end of {before.run}"
            self._save()
        while is_held(before.lock_path) and not self.stop_asked:
            time.sleep(_TURN_PERIOD_S)
        if self.stop_asked:
            return False
        # A resume does not wait again, and the hours of this run begin now.
        self.record.after, self.record.message, self._began = None, "", time.monotonic()
        self._save()
        return True

    def _train(self) -> int:
        """Exit status of one more attempt to train."""
        attempt = Attempt(number=len(self.record.attempts) + 1, started=time.time(), exit_status=None)
        self.record.attempts.append(attempt)
        status = self._process("train", state="preparing")
        attempt.ended, attempt.exit_status = time.time(), status
        self._save()
        if status not in (ExitCode.OK, ExitCode.INTERRUPTED):
            self._event("died", exit_status=status, attempt=attempt.number)
        return status

    def _process(self, command: str, *, state: RunState) -> int:
        """Exit status of one runtime process, after its whole group is gone."""
        clear_notice(self.folder.notice_path)
        self._preempted = False
        number = len(self.record.attempts)
        python = Path(self.record.python)
        environment = training_environment(self.environment, secrets=self.terms.secrets, python=python, runtime_path=self.runtime_path)
        environment |= attempt_variables(
            run=self.record.run, run_dir=self.folder.path, attempt=number, chaos=self.record.chaos, grace_s=self.terms.grace_s
        )
        self._log(f"attempt {number}: {command}")
        arguments = [str(python), "-m", "runtime", command, str(self.folder.config_path)]
        child = start_child(arguments, environment=environment, cwd=Path(self.record.cwd), log=self.folder.log_path)
        self.record.process_group, self.record.process_started, self.record.state = child.pid, child.started, state
        self._save()
        status = self._watch(child)
        # Workers may outlive their leader; they would hold memory, ports and files the next attempt needs.
        kill_group(child.pid, child.started)
        end_descendants()
        self._read_events()
        self.record.process_group = self.record.process_started = None
        self._log(f"attempt {number}: {command} ended with {describe_exit(status)}")
        return status

    def _moved_on(self) -> Verdict:
        return Verdict(action="end", state="recovering", exit_code=ExitCode.INTERRUPTED, message="its machine was taken away")

    def _look_around(self, child: Child) -> None:
        """Do what the overseer wants: stop for good, or leave a machine that is going away while there is time to seal."""
        wish = self.overseer.look() if self.overseer is not None else None
        if wish is None or self.stop_asked or self.leaving:
            return
        if wish.kind == "stop":
            self.ask_stop(wish.reason)
            return
        self.leaving = True
        self._log(f"{wish.reason}: asking the process to seal, {wish.deadline_s:g} s at most")
        write_notice(self.folder.notice_path, kind="preempt", deadline_s=wish.deadline_s)
        end_group(child.pid, child.started, grace_s=wish.deadline_s)

    def _watch(self, child: Child) -> int:
        asked = False
        while (status := child.poll()) is None:
            self._read_events()
            self._look_around(child)
            if self.terms.max_hours is not None and time.monotonic() - self._began > self.terms.max_hours * 3600:
                self.ask_stop(f"reached launch.max_hours = {self.terms.max_hours:g}")
            if self.stop_asked and not asked:
                asked = True
                self._log(f"{self.stop_asked}: asking the process to seal, {self.terms.grace_s:g} s at most")
                write_notice(self.folder.notice_path, kind="stop", deadline_s=self.terms.grace_s)
                if not end_group(child.pid, child.started, grace_s=self.terms.grace_s):
                    self._log("the process did not end in time and was killed")
                continue
            time.sleep(_PERIOD_S)
        return status

    def _publish(self) -> Verdict:
        """The verdict on merging and verifying: a death by a signal is tried again a few times, an error is not."""
        for _ in range(_MAX_PUBLISH_DEATHS + 1):
            if self.stop_asked:
                return Verdict(
                    action="end", state="stopped", exit_code=ExitCode.INTERRUPTED, message=f"{self.stop_asked}; trained, not published yet"
                )
            status = self._process("publish", state="publishing")
            if status == ExitCode.OK:
                return Verdict(action="end", state="done")
            if self.leaving:
                return self._moved_on()
            if not was_signalled(status) and status != ExitCode.INTERRUPTED:
                break
        return Verdict(
            action="end",
            state="unverified",
            exit_code=ExitCode.NOT_VERIFIED,
            message=self.record.message or "trained, but publishing failed: the model is sealed and not verified",
        )

    def end(self, verdict: Verdict) -> ExitCode:
        """Write the run's last word and return its exit code."""
        self.record.state, self.record.exit_code = verdict.state, int(verdict.exit_code)
        if verdict.state == "done":
            self.record.message = ""
        else:
            self.record.message = verdict.message or self.record.message or self._last_word()
        clear_notice(self.folder.notice_path)
        if verdict.state == "stopped":
            self._event("stopped")
        self._log(f"the run is {verdict.state}" + (f": {self.record.message}" if self.record.message else ""))
        self._save()
        return verdict.exit_code

    def _last_word(self) -> str:
        """The last thing the process said: its last line that is neither indented, as fixes and stack frames are, nor ours."""
        lines = reversed(last_lines(self.folder.log_path, 40))
        return next((line.strip() for line in lines if line.strip() and not line[0].isspace() and not line.startswith("[supervisor")), "")

    def _pause(self, seconds: float) -> bool:
        """False when a stop was asked for during the pause."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.stop_asked:
            time.sleep(_PERIOD_S)
        return not self.stop_asked

    def _read_events(self) -> None:
        changed = False
        for event in self._tail.new():
            attempt = self.record.attempts[-1] if self.record.attempts else None
            match event["kind"]:
                case "loss" if self.record.state == "preparing":
                    self.record.state, changed = "training", True
                case "resumed" if attempt is not None:
                    attempt.resumed_from_step, attempt.reason, changed = event.get("from_step"), str(event.get("reason", "")), True
                case "preempted":
                    self._preempted = True
                case "failed":
                    self.record.message, changed = str(event.get("message", "")), True
                case _:
                    pass
        if not self._preempted and read_notice(self.folder.notice_path) == "preempt":
            self._preempted = True
        if changed:
            self._save()

    def _save(self) -> None:
        try:
            self.folder.save(self.record)
        except OSError as error:
            # A record that cannot be written now must not cost the user the training that still runs; the next save tries again.
            self._log(f"cannot write the run's record: {error}")

    def _event(self, kind: str, **fields: int) -> None:
        try:
            EventLog(Path(self.record.output_dir) / "events.jsonl").append(kind, **fields)
        except OSError as error:
            self._log(f"cannot write the event log: {error}")

    def _log(self, text: str) -> None:
        sys.stderr.write(f"[supervisor {time.strftime('%H:%M:%S')}] {text}\n")
        sys.stderr.flush()


def main(arguments: list[str] | None = None) -> int:
    """Serve one run to its end; the exit status is the run's."""
    parser = argparse.ArgumentParser(prog="supervisor")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--lock-fd", type=int, help="descriptor that already holds the run's lock")
    options = parser.parse_args(arguments)
    folder = RunFolder(path=options.run_dir)
    asked: list[int] = []
    _listen(asked.append)
    # The lock must not live on in the training process, so it is not inheritable; it is never closed, and ends with this process.
    lock = options.lock_fd if options.lock_fd is not None else take(folder.lock_path)
    if lock is None:
        sys.stderr.write(f"another supervisor serves {folder.run}\n")
        return ExitCode.INVALID
    os.set_inheritable(lock, False)
    adopt_orphans()
    record = folder.record()
    try:
        supervisor = Supervisor(
            folder=folder,
            record=record,
            terms=read_terms(folder),
            environment=os.environ,
            runtime_path=runtime_only_path(folder.path.parent.parent),
        )
    except UserError as error:
        return _give_up(folder, record, str(error), error.exit_code)
    _listen(lambda number: supervisor.ask_stop("stopped on request" if number == signal.SIGTERM else "stopped by an interrupt"))
    for number in asked:
        signal.raise_signal(number)
    try:
        return supervisor.run()
    except Exception:  # noqa: BLE001 - whatever happens here, the training process must not be left alone and the record must say so
        traceback.print_exc()
        if record.process_group is not None:
            end_group(record.process_group, record.process_started, grace_s=supervisor.terms.grace_s)
        return _give_up(folder, record, "the supervisor failed; `launcher logs` shows where", ExitCode.INTERNAL)


def read_terms(folder: RunFolder) -> Terms:
    """The terms in the run's own copy of its config."""
    from runtime.config.load import load_config
    from runtime.config.secrets import handed_secrets

    config = load_config(folder.config_path).config
    assert config is not None
    launch = config.launch
    return Terms(
        grace_s=launch.recovery.grace_s,
        max_deaths=launch.recovery.max_restarts_without_progress,
        max_hours=launch.max_hours,
        secrets=handed_secrets(config),
    )


def _listen(on_signal: Callable[[int], object]) -> None:
    """Hand stop signals to `on_signal`. The starter blocked them, so that none is lost or kills us before this line."""

    def handle(number: int, _frame: FrameType | None) -> None:
        on_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})


def _give_up(folder: RunFolder, record: RunRecord, message: str, code: ExitCode) -> ExitCode:
    record.state, record.exit_code, record.message = "failed", int(code), message
    record.process_group = record.process_started = None
    folder.save(record)
    return code


def describe_exit(status: int) -> str:
    """An exit status in words: `exit code 5`, `SIGKILL`."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


if __name__ == "__main__":
    sys.exit(int(main()))
