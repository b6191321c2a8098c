"""A model and data that come from the Hub, and a trained model that goes there: pushed, compared, and never over somebody else's commit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.config.load import load_config
from runtime.config.problem import ExitCode, UserError
from runtime.events import Event, read_events
from runtime.training.job import Surroundings
from runtime.training.stop import StopRequest

pytestmark = pytest.mark.train

SHORT = {"max_steps": 4, "eval_steps": 2, "save_steps": 2, "micro_batch_size": 4, "gradient_accumulation_steps": 1, "val_set_size": 0.1}
LORA = {**SHORT, "adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_target_linear": True}
OUT = "models/tester/out"


def events(recipe: Path, kind: str) -> list[Event]:
    return [event for event in read_events(recipe.with_suffix("") / "events.jsonl") if event["kind"] == kind]


def put_model(hub: Any, tiny: Path, repo: str = "models/org/tiny", **settings: Any) -> str:
    """The tiny model as a repository; its commit."""
    return hub.server.put(repo, {file.name: file.read_bytes() for file in (tiny / "model").iterdir()}, **settings)


def runtime(hub: Any, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the runtime as a process of its own, with nothing cached."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {**kept, **hub.environment, "HF_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "runtime", *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_from_the_hub_and_back(hub: Any, tiny: Path, recipe: Callable[..., Path], tmp_path: Path) -> None:
    server = hub.server
    commit = put_model(hub, tiny, private=True)
    server.put("models/org/tiny", {"config.json": b"{}"}, title="broken since")
    server.put("datasets/org/rows", {"rows.jsonl": (tiny / "rows.jsonl").read_bytes()}, private=True)
    data = [{"path": "org/rows", "type": "completion", "field": "text"}]
    path = recipe(
        **LORA,
        base_model="org/tiny",
        revision_of_model=commit,
        datasets=data,
        hub_model_id="tester/out",
        hub_strategy="checkpoint",
        save_total_limit=1,
    )
    done = runtime(hub, tmp_path / "home", "train", str(path))
    assert done.returncode == 0, done.stderr
    held = server.files(OUT)
    final = path.with_suffix("") / "final"
    assert server.repos[OUT].private
    assert {name: held[name] for name in ("adapter_model.safetensors", "README.md", "manifest.json")} == {
        name: (final / name).read_bytes() for name in ("adapter_model.safetensors", "README.md", "manifest.json")
    }
    assert '"tester/out"' in held["README.md"].decode()
    newest = max(path.with_suffix("").glob("checkpoints/step-*"))
    assert held["last-checkpoint/optimizer.pt"] == (newest / "optimizer.pt").read_bytes()
    (published,) = events(path, "published")
    assert (published["url"], published["commit"]) == (f"{hub.endpoint}/tester/out", server.repos[OUT].branches["main"])
    assert events(path, "pushed")[-1]["step"] == 4
    titles = server.titles(OUT)

    server.put(OUT, {"notes.txt": b"mine"}, title="somebody else's")
    server.order(r"POST .*/commit", 500)
    server.order(r"PUT /store", 503)
    again = runtime(hub, tmp_path / "home", "publish", str(path))
    assert again.returncode == 0, again.stderr
    held = server.files(OUT)
    assert held["model.safetensors"] == (final / "merged" / "model.safetensors").read_bytes()
    assert "adapter_config.json" not in held
    assert "library_name: transformers" in held["README.md"].decode()
    assert held["notes.txt"] == b"mine"
    assert server.titles(OUT)[1:] == ["somebody else's", *titles]

    said = done.stdout + done.stderr + again.stdout + again.stderr
    assert server.token not in said
    written = [file for folder in (path.with_suffix(""), tmp_path / "home") for file in folder.rglob("*") if file.is_file()]
    assert len(written) > 20
    assert not any(server.token.encode() in file.read_bytes() for file in written)


def train_here(recipe: Path, **surroundings: Any) -> ExitCode:
    from runtime.training.train import train

    return train(load_config(recipe).config, Surroundings(**surroundings), StopRequest())


def test_a_door_that_is_closed_is_found_before_training(online: Any, recipe: Callable[..., Path]) -> None:
    online.server.role = "read"
    path = recipe(**SHORT, hub_model_id="org/out")
    with pytest.raises(UserError, match="may only read") as caught:
        train_here(path)
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED
    assert not events(path, "prepared")


def test_a_hub_that_fails_at_the_end_leaves_the_model_and_exit_7(online: Any, recipe: Callable[..., Path]) -> None:
    from runtime.publish.publish import publish

    path = recipe(**SHORT, hub_model_id="tester/out", hub_strategy="end")
    online.server.before = lambda request: "/commit/" in request and online.server.order("/commit/", 403)
    with pytest.raises(UserError, match="is sealed, but not on the Hub") as caught:
        train_here(path)
    assert caught.value.exit_code == ExitCode.NOT_VERIFIED
    assert events(path, "failed")[-1]["message"].endswith("the Hub refuses: 403, as ordered")
    assert not events(path, "published")
    online.server.before = lambda request: None
    publish(load_config(path).config)
    assert len(events(path, "published")) == 1
    assert online.server.titles(OUT) == ["out: trained model of step 4", "initial commit"]


def test_a_run_that_has_begun_goes_on_without_the_hub(
    online: Any, recipe: Callable[..., Path], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.checkpoint.manifest import read_manifest
    from runtime.training import pushes

    monkeypatch.setattr(pushes, "ASK_S", 0.0)
    monkeypatch.setattr("runtime.training.train.STOP_WAIT_S", 0.1)
    calm = recipe("calm", **SHORT)
    assert train_here(calm) == ExitCode.OK
    path = recipe(**SHORT, hub_model_id="tester/out")
    down = {"asked": 0}

    def fail(request: str) -> None:
        down["asked"] += 1
        online.server.order(".", 503)

    online.server.before = fail
    with pytest.raises(UserError, match="kept failing") as caught:
        train_here(path)
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED
    # A supervisor's second attempt; it publishes by itself, later.
    assert train_here(path, run="out", attempt=2) == ExitCode.OK
    assert down["asked"] > 2
    same = [{file.path: file.checksum for file in read_manifest(p.with_suffix("") / "final").files} for p in (calm, path)]
    assert same[0]["model.safetensors"] == same[1]["model.safetensors"]
    assert not events(path, "published")


def test_prepared_data_go_to_the_hub(online: Any, recipe: Callable[..., Path], tmp_path: Path) -> None:
    import pyarrow.parquet

    from runtime.data.preprocess import preprocess

    path = recipe(**SHORT, push_dataset_to_hub="tester/rows", dataset_prepared_path=str(tmp_path / "prepared"))
    data = preprocess(load_config(path).config, as_json=True)
    held = online.server.files("datasets/tester/rows")
    assert set(held) == {".gitattributes", "data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"}
    (tmp_path / "back.parquet").write_bytes(held["data/train-00000-of-00001.parquet"])
    assert pyarrow.parquet.read_table(tmp_path / "back.parquet").num_rows == data["train_rows"]
    assert data["hub"]["commit"] == online.server.repos["datasets/tester/rows"].branches["main"]
    assert json.loads(json.dumps(data["hub"])) == data["hub"]
    preprocess(load_config(path).config, as_json=True)
    assert len(online.server.titles("datasets/tester/rows")) == 2
