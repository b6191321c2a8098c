"""A run of another computer is pulled by its storage alone: what its record says of folders means nothing here."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.backend.elsewhere import run_elsewhere
from launcher.backend.pulling import available, pull
from launcher.state.stored_run import StoredRun
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.sealing import new_staging, seal
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import seal_in_store
from runtime.config.problem import UserError
from runtime.record import RunRecord


def sealed(folder: Path, content: str) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = new_staging(folder.parent)
    (staging / "model.safetensors").write_text(content)
    seal(staging, folder, step=10, config_hash="abc", world_size=1)
    return folder


@pytest.fixture
def storage(tmp_path: Path) -> str:
    """Of two runs; a folder of this computer has the name of the one in which they trained on theirs."""
    store = open_store(str(tmp_path / "store"))
    for run in ("calm-otter-x7k", "calm-owl-x2c"):
        place = RunStore(store=store, run=run)
        seal_in_store(place, sealed(tmp_path / run / "step-00000010", run), writer="1-aaaa")
        StoredRun(place=place).write_record(
            RunRecord(run=run, recipe="r.yml", output_dir=str(tmp_path / "out"), storage="s3://by-another-name", created=1.0)
        )
    sealed(tmp_path / "out" / "checkpoints" / "step-00000010", "somebody else's")
    return str(tmp_path / "store")


def test_it_comes_from_the_storage_alone(storage: str, tmp_path: Path) -> None:
    record = run_elsewhere(storage, "calm-otter-x7k")
    assert [(one.step, one.source.startswith("file://")) for one in available(record)] == [(10, True)]
    pulled = pull(record, tmp_path / "copy", step=10)
    assert (pulled.path / "model.safetensors").read_text() == "calm-otter-x7k"


def test_the_beginning_of_a_name_is_enough(storage: str) -> None:
    assert run_elsewhere(storage, "calm-ow").run == "calm-owl-x2c"
    with pytest.raises(UserError, match="2 runs begin with 'calm-o': calm-otter-x7k, calm-owl-x2c"):
        run_elsewhere(storage, "calm-o")


def test_a_whole_name_is_meant_although_others_begin_so(storage: str) -> None:
    StoredRun(place=RunStore(store=open_store(storage), run="calm")).write_record(
        RunRecord(run="calm", recipe="r.yml", output_dir="out", created=1.0)
    )
    assert run_elsewhere(storage, "calm").run == "calm"


@pytest.mark.parametrize("name", ["bold-fox-2gh", ""])
def test_a_run_that_is_not_there_is_told(storage: str, name: str) -> None:
    with pytest.raises(UserError) as caught:
        run_elsewhere(storage if name else f"{storage}/none", name)
    assert caught.value.problems[0].code == "unknown-run"


def test_what_it_has_not_is_told_with_how_to_see_what_it_has(storage: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"pull calm-owl-x2c --storage {storage} --list"):
        pull(run_elsewhere(storage, "calm-owl-x2c"), tmp_path / "copy", weights=True)
