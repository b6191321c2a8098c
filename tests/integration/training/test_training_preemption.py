"""A cloud's notice ends a run at a step boundary with what the time left allows; nothing about when it is saved changes what is trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.manifest import read_manifest, verify
from runtime.config.load import load_config
from runtime.config.problem import ExitCode, UserError
from runtime.events import Event, latest_per_step, read_events
from runtime.training.job import Surroundings
from runtime.training.stop import StopRequest

pytestmark = pytest.mark.train

LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "lora_target_linear": True}


class Amazon:
    """Amazon's metadata service on a loopback address; `notices` are the documents it has at their paths by now."""

    def __init__(self) -> None:
        self.notices: dict[str, dict[str, str]] = {}
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(*service.answer(self.path, self.headers.get("X-aws-ec2-metadata-token")))

            def do_PUT(self) -> None:
                self._send(200, b"a-token")

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.variables = {
            "LAUNCHER_PREEMPTION": "aws",
            "LAUNCHER_METADATA_ENDPOINT": f"http://127.0.0.1:{self.server.server_address[1]}",
        }
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, token: str | None) -> tuple[int, bytes]:
        if token != "a-token":
            return 401, b""
        notice = self.notices.get(path.removeprefix("/latest/meta-data/"))
        return (404, b"") if notice is None else (200, json.dumps(notice).encode())


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Amazon]:
    from runtime.training.preemption.aws import AwsSpot

    monkeypatch.setattr(AwsSpot, "pause_s", 0.01)
    service = Amazon()
    yield service
    service.server.shutdown()
    service.server.server_close()


def run(recipe: Path, *, attempt: int = 1, notices: dict[str, str] | None = None, **surroundings: Any) -> ExitCode:
    """Train in this process, as a supervised run."""
    from runtime.training.train import train

    told = {} if notices is None else {"notices": notices}
    return train(load_config(recipe).config, Surroundings(run="tiny", attempt=attempt, **told, **surroundings), StopRequest())


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[Any], None]) -> None:
    """Have `act` done, once, with the session of the run, at the end of step `number` and before anything is decided there."""
    from runtime.training.boundary import StepBoundary

    decide = StepBoundary.on_step_end
    waiting = [number]

    def acting(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if waiting and state.global_step == waiting[0]:
            waiting.clear()
            act(self._trainer.session)
        decide(self, args, state, control, **kwargs)

    monkeypatch.setattr(StepBoundary, "on_step_end", acting)


def soon(happened: Callable[[], bool]) -> None:
    """Return once it has happened."""
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


def events(recipe: Path, *kinds: str) -> list[Event]:
    return [event for event in read_events(recipe.with_suffix("") / "events.jsonl") if not kinds or event["kind"] in kinds]


def losses(recipe: Path) -> list[tuple[int, float]]:
    return [(event["step"], event["loss"]) for event in latest_per_step(events(recipe), "loss")]


def weights(recipe: Path) -> dict[str, str]:
    files = read_manifest(recipe.with_suffix("") / "final").files
    return {file.path: file.checksum for file in files if file.path.endswith(".safetensors")}


_UNDISTURBED: list[Any] = []


def undisturbed(recipe: Callable[..., Path]) -> Any:
    """Losses and weights of the run that nothing happens to; trained once for all tests."""
    if not _UNDISTURBED:
        calm = recipe("calm", **LORA)
        assert run(calm) == ExitCode.OK
        _UNDISTURBED.append((losses(calm), weights(calm)))
    return _UNDISTURBED[0]


def checkpoint_of(recipe: Path, step: int) -> Path:
    return recipe.with_suffix("") / "checkpoints" / f"step-{step:08d}"


def sealed(recipe: Path) -> list[int]:
    """Steps of the checkpoints that are there; each must be whole."""
    folders = sorted((recipe.with_suffix("") / "checkpoints").iterdir())
    assert all(verify(folder, read_manifest(folder)) == () for folder in folders)
    return [read_manifest(folder).step for folder in folders]


def test_amazons_notice_seals_exits_6_and_the_run_ends_as_an_undisturbed_one(
    recipe: Callable[..., Path], amazon: Amazon, monkeypatch: pytest.MonkeyPatch
) -> None:
    stormy = recipe("stormy", **LORA)

    def announce(session: Any) -> None:
        amazon.notices["spot/instance-action"] = {"action": "terminate", "time": utc(time.time() + 120)}
        soon(lambda: session.stop.requested)

    with monkeypatch.context() as patched:
        at_step(patched, 7, announce)
        assert run(stormy, notices=amazon.variables) == ExitCode.INTERRUPTED
    assert sealed(stormy) == [5, 7]
    (told,) = events(stormy, "preempted")
    assert (told["step"], told["saves"]) == (7, "full")
    assert 60 < told["deadline_s"] <= 120
    assert "Amazon" in told["reason"]
    assert run(stormy, attempt=2) == ExitCode.OK
    assert [event["from_step"] for event in events(stormy, "resumed")] == [7]
    assert (losses(stormy), weights(stormy)) == undisturbed(recipe)


def test_a_notice_that_is_there_before_training_ends_the_run_at_once(recipe: Callable[..., Path], amazon: Amazon) -> None:
    amazon.notices["spot/instance-action"] = {"action": "stop", "time": utc(time.time() + 120)}
    path = recipe()
    child = subprocess.run(
        [sys.executable, "-m", "runtime", "train", str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **amazon.variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == ExitCode.INTERRUPTED, child.stderr
    assert "Traceback" not in child.stderr
    assert events(path, "preempted")[0]["reason"].startswith("Amazon")


def test_a_recommendation_to_move_saves_and_goes_on(recipe: Callable[..., Path], amazon: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    warned = recipe("warned", **LORA)

    def recommend(session: Any) -> None:
        amazon.notices["events/recommendations/rebalance"] = {"noticeTime": utc(time.time())}
        soon(lambda: session.stop.save_soon)

    at_step(monkeypatch, 3, recommend)
    assert run(warned, notices=amazon.variables) == ExitCode.OK
    assert sealed(warned) == [3, 5, 10, 12]
    assert (losses(warned), weights(warned)) == undisturbed(recipe)


def test_where_there_is_time_for_the_weights_alone_they_are_kept_beside_the_last_checkpoint(
    recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stormy = recipe("stormy", **LORA)
    from runtime.training import saving
    from runtime.training.deadline import Speeds

    with monkeypatch.context() as patched:
        # A full checkpoint would take all of the notice, its weights about a third.
        speeds = lambda self, *, stores, unsent=0: Speeds(seal=read_manifest(checkpoint_of(stormy, 5)).total_bytes / 60.0)  # noqa: E731
        patched.setattr(saving.Pace, "speeds", speeds)
        assert run(stormy, chaos="preempt@7:60") == ExitCode.INTERRUPTED
    kept = stormy.with_suffix("") / "weights"
    manifest = read_manifest(kept)
    assert verify(kept, manifest) == ()
    assert (manifest.kind, manifest.step) == ("weights", 7)
    names = {file.path for file in manifest.files}
    assert "optimizer.pt" not in names
    assert {"adapter_model.safetensors", "config.yml"} <= names
    assert sealed(stormy) == [5]
    with pytest.raises(UserError, match="weights alone") as caught:
        run(recipe("again", **LORA, resume_from_checkpoint=str(kept)))
    assert caught.value.exit_code == ExitCode.INVALID
    assert run(stormy, chaos="preempt@7:60", attempt=2) == ExitCode.OK
    assert [event["from_step"] for event in events(stormy, "resumed")] == [5]
    assert (losses(stormy), weights(stormy)) == undisturbed(recipe)
    assert not kept.exists()


def test_saves_by_the_clock_change_nothing_that_is_trained(
    recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.config import beat
    from runtime.training import interval

    monkeypatch.setattr(interval, "first_save_s", lambda hours: 0.05)
    timed = recipe("timed", **LORA, save_steps=None, launch={"storage": str(tmp_path / "store")})
    save_interval_s = interval.save_interval_s

    monkeypatch.setattr(interval, "save_interval_s", lambda save_s, hours, send_s=0.0: save_interval_s(save_s, hours) / 1e4)
    assert run(timed) == ExitCode.OK
    saves = events(timed, "checkpoint")
    assert len(saves) > 2
    assert saves[-1]["step"] == 12
    assert all(0 < event["blocking_s"] <= event["seconds"] for event in saves)
    told = events(timed, "save_interval")
    assert told
    assert told[0]["mtbp_h"] == beat.DEFAULT_PREEMPTION_H
    assert sealed(timed) == [event["step"] for event in saves]
    assert (losses(timed), weights(timed)) == undisturbed(recipe)
