"""A checkpoint on demand: asked for by a file or a signal, given once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.training.ondemand import OnDemand, on_demand
from runtime.training.processes import Rank

pytestmark = pytest.mark.train


def session(*, seals: bool = True, **values: Any) -> Any:
    said: list[str] = []
    return SimpleNamespace(
        rank=Rank(),
        stopped=None,
        emit=lambda kind, step: said.append(f"{kind} {step}"),
        saver=SimpleNamespace(sealed=lambda: seals),
        progress=SimpleNamespace(say=said.append),
        said=said,
        **values,
    )


def saves(watch: OnDemand, step: int) -> bool:
    """Whether step `step` is saved; a save that is wanted happens."""
    control = SimpleNamespace(should_save=False)
    watch.on_step_end(SimpleNamespace(device=None), SimpleNamespace(global_step=step), control)
    if control.should_save:
        watch.on_save(None, None, control)
    return control.should_save


def test_a_file_asks_for_one_checkpoint_at_the_next_look(tmp_path: Path) -> None:
    trigger = tmp_path / "save"
    watch = OnDemand(session(), trigger, interval=5)
    assert not saves(watch, 5)
    trigger.touch()
    assert [step for step in range(6, 21) if saves(watch, step)] == [10]
    assert not trigger.exists()


def test_a_request_outlives_a_save_that_did_not_happen(tmp_path: Path) -> None:
    trigger = tmp_path / "save"
    trigger.touch()
    watch = OnDemand(session(), trigger, interval=1)
    watch.on_step_end(SimpleNamespace(device=None), SimpleNamespace(global_step=1), SimpleNamespace(should_save=False))
    assert trigger.exists(), "killed before the checkpoint was sealed"
    assert saves(OnDemand(session(seals=False), trigger, interval=1), 2)
    assert trigger.exists(), "the disk was full"
    assert saves(OnDemand(session(), trigger, interval=1), 3)
    assert not trigger.exists()


def test_a_run_that_stops_decides_by_itself_whether_to_save(tmp_path: Path) -> None:
    trigger = tmp_path / "save"
    trigger.touch()
    stopping = session()
    stopping.stopped = object()
    assert not saves(OnDemand(stopping, trigger, interval=1), 1)


def test_the_signal_asks_as_well(tmp_path: Path) -> None:
    watch = OnDemand(session(), tmp_path / "save", interval=1)
    before = signal.getsignal(signal.SIGUSR1)
    try:
        watch.on_train_begin(None, None, None)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert [step for step in range(1, 5) if saves(watch, step)] == [1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_file_is_a_name_in_the_runs_folder(tmp_path: Path) -> None:
    def asked(**values: Any) -> Any:
        return SimpleNamespace(
            dynamic_checkpoint=SimpleNamespace(**{"enabled": True, "check_interval": 2, "trigger_file_path": "save"} | values)
        )

    assert on_demand(asked(), session(), tmp_path) is not None
    assert on_demand(asked(enabled=False), session(), tmp_path) is None
    assert on_demand(SimpleNamespace(dynamic_checkpoint=None), session(), tmp_path) is None
    with pytest.raises(UserError, match="not a file name"):
        on_demand(asked(trigger_file_path="../save"), session(), tmp_path)
