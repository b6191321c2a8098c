"""A training and its store: what it hears of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from runtime.events import EventLog
from runtime.training.stop import StopRequest
from runtime.training.stores import watched_store


def test_one_whose_place_was_taken_trains_no_further(tmp_path: Path) -> None:
    """The next step saves, and the save ends the run: what is trained after that is in vain."""
    said: list[str] = []
    job: Any = SimpleNamespace(
        config=SimpleNamespace(launch=SimpleNamespace(storage=str(tmp_path / "store"), upload_mb_per_s=None)),
        events=EventLog(tmp_path / "events.jsonl"),
        progress=SimpleNamespace(say=said.append),
        emit=lambda *_args, **_fields: None,
        stop=StopRequest(),
    )
    assert watched_store(job, "run") is not None
    job.events.append("upload_retry", 4, message="no route to host", wait_s=1.0)
    assert not job.stop.save_soon
    job.events.append("fenced", 4, message="attempt 2 has taken this run over")
    assert job.stop.save_soon
    assert said == ["warning: attempt 2 has taken this run over; this process ends"]
