"""Whole runs over an S3 server that fails: training goes on, nothing is lost, the weights are the same, and what is wrong is said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import DAMAGE, FAULTS, REFUSALS, Fault, FaultProxy, Request, always, calm, chance, proxied
from object_servers import ObjectServer
from tenacity import wait_fixed

from runtime.checkpoint import patience, retry
from runtime.checkpoint.manifest import read_manifest
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.restore import find_newest
from runtime.checkpoint.stored import RunStore, verify_stored
from runtime.config.load import load_config
from runtime.config.problem import ExitCode, UserError
from runtime.events import read_events
from runtime.training.job import Surroundings
from runtime.training.stop import StopRequest

pytestmark = pytest.mark.train

SHORT: dict[str, Any] = {"max_steps": 8, "save_steps": 2, "val_set_size": 0, "eval_steps": None, "micro_batch_size": 4}


@pytest.fixture
def proxy(object_server: Callable[[str], ObjectServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Between the run and its store."""
    server = object_server("seaweedfs")
    monkeypatch.setattr(retry, "_WAIT", wait_fixed(0.01))
    monkeypatch.setattr(patience, "_WAIT", wait_fixed(0.05))
    with proxied(server.endpoint) as between:
        for name, value in between.variables(server.variables).items():
            monkeypatch.setenv(name, value)
        yield between


def run(path: Path, name: str) -> ExitCode:
    from runtime.training.train import train

    return train(load_config(path).config, Surroundings(run=name), StopRequest())


def weights(output: Path) -> dict[str, str]:
    return {file.path: file.checksum for file in read_manifest(output / "final").files if file.path.endswith(".safetensors")}


def told(output: Path) -> list[str]:
    return [event["kind"] for event in read_events(output / "events.jsonl")]


def for_a_while(seconds: float, fault: Fault, then: Callable[[Request], Fault | None]) -> Callable[[Request], Fault | None]:
    """`fault` for so many seconds from the first request on."""
    began: list[float] = []

    def choose(request: Request) -> Fault | None:
        began.append(request.at)
        return fault if time.monotonic() - began[0] < seconds else then(request)

    return choose


def test_a_store_that_fails_at_the_start_and_all_along_costs_nothing(
    recipe: Callable[..., Path], proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.training.outage._NOTABLE_S", 0.2)
    assert run(recipe("calm", **SHORT), "calm") == ExitCode.OK
    stormy = recipe("stormy", **SHORT, launch={"storage": "s3://tests/outages"})
    # Six attempts are over long before the store is back: it is waited for.
    faults = [*FAULTS.values(), *DAMAGE.values()]
    proxy.choose = for_a_while(1.5, FAULTS["reset"], chance(3, 0.15, faults))
    assert run(stormy, "stormy") == ExitCode.OK
    assert weights(tmp_path / "stormy") == weights(tmp_path / "calm")
    kinds = told(tmp_path / "stormy")
    assert kinds.index("store_failing") < kinds.index("store_answers") < kinds.index("loss")

    proxy.choose = calm
    place = RunStore(store=open_store("s3://tests/outages"), run="stormy")
    assert verify_stored(place, place.manifest("final")) == ()
    found = find_newest([place])
    assert found is not None
    assert verify_stored(place, found.manifest) == ()

    # Another machine, over a store that still fails, has nothing left to train.
    shutil.rmtree(tmp_path / "stormy")
    proxy.choose = chance(4, 0.15, FAULTS.values())
    assert run(stormy, "stormy") == ExitCode.OK
    assert weights(tmp_path / "stormy") == weights(tmp_path / "calm")


@pytest.mark.parametrize("refusal", ["credentials", "missing-bucket"] if os.environ.get("LONG_TESTS") else ["credentials"])
def test_a_model_that_the_store_does_not_take_is_trained_and_sent_later(
    recipe: Callable[..., Path], proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    from runtime.events import EventLog
    from runtime.publish.delivery import deliver

    for wait in ("FINAL_WAIT_S", "STOP_WAIT_S"):
        monkeypatch.setattr(f"runtime.training.stores.{wait}", 1.0)
    name, output = f"late-{refusal}", tmp_path / "out"
    path = recipe(**SHORT, launch={"storage": "s3://tests/outages"})

    def choose(request: Request) -> Fault | None:
        return REFUSALS["s3"][refusal] if "uploaded" in told(output) else None

    proxy.choose = choose
    with pytest.raises(UserError, match="trained and sealed") as caught:
        run(path, name)
    assert (caught.value.problems[0].code, caught.value.exit_code) == ("not-uploaded", ExitCode.NOT_VERIFIED)
    assert f"launcher publish {name}" in caught.value.problems[0].fix
    assert told(output).count("checkpoint") == 4
    assert {"trained", "upload_retry"} <= set(told(output))

    proxy.choose = calm
    place = RunStore(store=open_store("s3://tests/outages"), run=name)
    assert find_newest([place]) is not None, "what was sealed before is still there"
    deliver(load_config(path).config, [output / "final"], events=EventLog(output / "events.jsonl"))
    manifest = place.manifest("final")
    assert verify_stored(place, manifest) == ()
    assert manifest.same_content(read_manifest(output / "final"))


# Runs `python -m runtime` as it is, but for how long the end of a run waits for its store: an hour.
IMPATIENT = """\
import runpy, sys
if sys.argv[1:3] == ["-m", "runtime"]:
    import runtime.training.stores
    runtime.training.stores.FINAL_WAIT_S = 2.0
    sys.argv[:] = sys.argv[2:]
    runpy.run_module("runtime", run_name="__main__", alter_sys=True)
else:
    exec(sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="half a minute; LONG_TESTS=1")
def test_launcher_publish_finishes_what_the_store_did_not_take(recipe: Callable[..., Path], proxy: FaultProxy, tmp_path: Path) -> None:
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "impatient.py"} "$@"\n')
    interpreter.chmod(0o755)
    environment = {
        **os.environ,
        "LAUNCHER_STATE_DIR": str(tmp_path / "state"),
        "LAUNCHER_RUNTIME_PYTHON": str(interpreter),
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
        "OMP_NUM_THREADS": "1",
    }

    def launcher(*arguments: str) -> tuple[int, dict[str, Any], str]:
        command = [sys.executable, "-m", "launcher", *arguments, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, json.loads(done.stdout), done.stderr

    output = tmp_path / "out"
    path = recipe(**SHORT, launch={"storage": "s3://tests/outages"})
    proxy.choose = lambda _request: FAULTS["reset"] if "uploaded" in told(output) else None
    code, printed, said = launcher("up", str(path), "--cloud", "local", "-y", "--name", "late")
    assert code == ExitCode.NOT_VERIFIED, said
    assert "launcher publish late" in json.dumps(printed) + said
    place = RunStore(store=open_store("s3://tests/outages"), run="late")
    proxy.choose = calm
    assert place.store.stat(place.key("final/manifest.json")) is None

    code, printed, said = launcher("publish", "late")
    assert code == 0, said
    assert printed["data"]["state"] == "done"
    assert told(output).count("trained") == 1, "it was not trained again"
    manifest = place.manifest("final")
    assert verify_stored(place, manifest) == ()
    assert manifest.same_content(read_manifest(output / "final"))


def test_wrong_keys_end_a_run_before_it_begins(recipe: Callable[..., Path], proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.choose = always(REFUSALS["s3"]["no-permission"])
    with pytest.raises(UserError) as caught:
        run(recipe(**SHORT, launch={"storage": "s3://tests/outages"}), "refused")
    assert (caught.value.problems[0].code, caught.value.exit_code) == ("no-permission", ExitCode.REMOTE_REFUSED)
    assert "loss" not in told(tmp_path / "out")
