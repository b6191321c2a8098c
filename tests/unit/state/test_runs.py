import random
import re
import time

import pytest

from launcher.state.names import random_name
from launcher.state.runs import create_run, find_run, list_runs, state_root
from launcher.state.stored_run import StoredRun
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.stored import RunStore
from runtime.config.problem import UserError
from runtime.record import RunRecord, read_record


def make(root, name, created):
    folder = create_run(root, name)
    folder.save(RunRecord(run=name, recipe="r.yml", output_dir=str(root / "out" / name), created=created))
    return folder


def test_names_are_an_adjective_a_noun_and_three_characters():
    source = random.Random(1)
    names = {random_name(source) for _ in range(200)}
    assert len(names) > 195
    assert all(re.fullmatch(r"[a-z]+-[a-z]+-[b-df-hj-np-tv-z2-9]{3}", name) for name in names)


def test_runs_are_found_by_a_unique_beginning(tmp_path):
    for name in ("calm-otter-x7k", "calm-owl-b2c", "bold-fox-d4f"):
        make(tmp_path, name, 1.0)
    assert find_run(tmp_path, "bold").run == "bold-fox-d4f"
    assert find_run(tmp_path, "calm-ot").run == "calm-otter-x7k"
    with pytest.raises(UserError, match="2 runs begin with 'calm'"):
        find_run(tmp_path, "calm")
    for wrong in ("quiet", "", "../runs/bold-fox-d4f"):
        with pytest.raises(UserError, match="no run"):
            find_run(tmp_path, wrong)


def test_an_exact_name_wins_over_longer_ones(tmp_path):
    make(tmp_path, "demo", 1.0)
    make(tmp_path, "demo-2", 2.0)
    assert find_run(tmp_path, "demo").run == "demo"


def test_the_newest_run_comes_first(tmp_path):
    make(tmp_path, "old", 10.0)
    make(tmp_path, "new", 30.0)
    make(tmp_path, "middle", 20.0)
    assert [folder.run for folder in list_runs(tmp_path)] == ["new", "middle", "old"]
    assert list_runs(tmp_path / "nothing") == []


def test_a_taken_name_is_refused(tmp_path):
    make(tmp_path, "demo", 1.0)
    with pytest.raises(UserError, match="already a run called 'demo'"):
        create_run(tmp_path, "demo")


def test_a_run_without_a_record_says_so(tmp_path):
    with pytest.raises(UserError, match="no record"):
        create_run(tmp_path, "demo").record()


def test_the_record_is_copied_to_an_output_folder_that_exists(tmp_path):
    output = tmp_path / "out"
    folder = create_run(tmp_path, "demo")
    record = RunRecord(run="demo", recipe="r.yml", output_dir=str(output), created=time.time())
    folder.save(record)
    assert not output.exists()
    output.mkdir()
    folder.save(record)
    assert (output / "run.json").read_bytes() == folder.record_path.read_bytes()


def test_the_state_folder_can_be_chosen(tmp_path):
    assert state_root({"LAUNCHER_STATE_DIR": str(tmp_path)}) == tmp_path
    assert state_root({}).name == "finetune-launcher"


def test_state_that_cannot_be_written_names_the_way_out(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UserError) as caught:
        create_run(tmp_path)
    assert "LAUNCHER_STATE_DIR" in caught.value.problems[0].fix


@pytest.mark.parametrize(
    ("content", "code", "fix"),
    [
        ('{"schema_version": 2, "run": {"id": 1}}', "newer-format", "pip install --upgrade"),
        ('{"schema_version": 1, "run"', "bad-record", "remove the file"),
        ('[{"schema_version": 2}]', "bad-record", "remove the file"),
        ("", "bad-record", "remove the file"),
    ],
)
def test_a_record_that_cannot_be_read_says_whether_a_newer_version_could(tmp_path, content, code, fix):
    (tmp_path / "store" / "demo").mkdir(parents=True)
    here, there = create_run(tmp_path, "demo").record_path, tmp_path / "store" / "demo" / "run.json"
    stored = StoredRun(place=RunStore(store=open_store(str(tmp_path / "store")), run="demo"))
    for path, read in ((here, lambda: read_record(here)), (there, stored.record)):
        assert read() is None
        path.write_text(content)
        with pytest.raises(UserError) as caught:
            read()
        assert caught.value.problems[0].code == code
        assert fix in caught.value.problems[0].fix
