"""The part of a machine that is not the head of its run: its own training processes, as long as the head's go on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from launcher.backend.local.child_environment import attempt_variables, training_environment
from launcher.backend.local.runtime_path import runtime_only_path
from launcher.backend.node.attendance import attend
from launcher.backend.node.beginning import begin
from launcher.backend.node.place import Place, node_environment
from launcher.backend.node.preparing import backend_here
from launcher.state.stored_run import StoredRun
from launcher.task.task import MOVED_ON
from runtime.config.problem import UserError
from runtime.config.secrets import handed_secrets

_AT_WORK = ("starting", "preparing", "training")
# So long the head may need after a death of its own to begin again, or to say that it does not.
_PATIENCE_S = 120.0


def follow_head(home: Path, place: Place, environment: Mapping[str, str]) -> int:
    """0 once the head has ended training in whatever way: the head's exit status is the run's. `MOVED_ON` when nothing is heard of it."""
    folder, config, stored = begin(home, place)
    attend(folder)
    python = backend_here(home, environment).interpreter()
    attempt = 0
    while True:
        attempt += 1
        variables = training_environment(
            node_environment(environment, place),
            secrets=handed_secrets(config),
            python=python,
            runtime_path=runtime_only_path(folder.path.parent.parent),
        )
        variables |= attempt_variables(
            run=place.run, run_dir=folder.path, attempt=attempt, chaos=place.chaos, grace_s=config.launch.recovery.grace_s
        )
        status = subprocess.run(
            [str(python), "-m", "runtime", "train", str(folder.config_path)], env=variables, cwd=home, check=False
        ).returncode
        if status == 0:
            return 0
        if not _goes_on(stored, tries=int(_PATIENCE_S // 5)):
            return 0
        if attempt > config.launch.recovery.max_restarts_without_progress:
            return MOVED_ON


def _goes_on(stored: StoredRun, *, tries: int, pause: Callable[[float], None] = time.sleep) -> bool:
    """Whether the head trains again; False when its record says how the run ended, or that it goes on elsewhere."""
    known = None
    for _ in range(tries):
        try:
            record = stored.record()
        except (OSError, UserError):
            record = None
        if record is not None:
            if record.state not in _AT_WORK:
                return False
            if known is not None and len(record.attempts) > known:
                return True
            known = len(record.attempts) if known is None else known
        pause(5.0)
    return True
