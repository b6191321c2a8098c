from pathlib import Path

from rich.console import Console

from launcher.backend.protocol import RunStatus
from launcher.show.runs import describe, duration, last_words, progress_words, run_table
from launcher.state.outputs import CheckpointFolder
from launcher.state.progress import fold
from runtime.record import Attempt, RunRecord


def status(state="training", **fields) -> RunStatus:
    record = RunRecord(
        **{
            "run": "calm-otter-x7k",
            "recipe": "recipe.yml",
            "output_dir": "/work/model-out/calm-otter-x7k",
            "created": 1_000_000.0,
            "state": state,
            "python": "/env/bin/python",
            "attempts": [Attempt(number=1, started=1.0, exit_status=-9), Attempt(number=2, started=2.0, resumed_from_step=10)],
        }
        | fields
    )
    events = [{"kind": "plan", "step": None, "time": 0, "steps": 120}]
    events += [{"kind": "loss", "step": step, "time": float(step), "loss": 5.0 - step / 100} for step in range(1, 41)]
    events += [{"kind": "eval", "step": 40, "time": 40.0, "loss": 4.5}]
    checkpoints = tuple(CheckpointFolder(step=step, path=Path("/x"), sealed=step != 30) for step in (10, 20, 30))
    return RunStatus(record=record, progress=fold(events), checkpoints=checkpoints)


def test_one_run_in_full():
    text = describe(status(), now=1_000_000.0 + 3700)
    lines = text.splitlines()
    assert lines[0] == "calm-otter-x7k: training"
    assert "  progress     step 40 of 120, train, 80 s left" in lines
    assert "  loss         4.990 → 4.600 (evaluation 4.500)" in lines
    assert "  checkpoints  2 sealed, at steps 10, 20" in lines
    assert "  attempts     2, resumed from step 10" in lines
    assert lines[-1] == "  `launcher logs calm-otter-x7k -f` follows it"


def test_a_storage_that_fails_is_told_while_the_run_is_at_work():
    found = status(storage="s3://bucket/runs")
    found.progress.apply({"kind": "store_failing", "step": None, "time": 41.0, "message": "no bucket; create it"})
    lines = describe(found, now=1_000_000.0).splitlines()
    at = lines.index("  storage      s3://bucket/runs")
    assert lines[at + 1] == "               it does not do what it is asked: no bucket; create it"
    found.progress.apply({"kind": "store_answers", "step": None, "time": 42.0, "seconds": 9.0})
    assert "asked" not in describe(found, now=1_000_000.0)


def test_every_bad_state_names_the_next_command():
    for state, command in (
        ("lost", "resume"),
        ("orphaned", "resume"),
        ("stopped", "resume"),
        ("failed", "logs"),
        ("unverified", "publish"),
        ("done", "chat"),
    ):
        assert f"launcher {command} calm-otter-x7k" in describe(status(state), now=1_000_000.0)


def test_the_last_words_of_a_failure_say_why():
    text = last_words(status("failed", message="out of memory"))
    assert text.splitlines()[0] == "calm-otter-x7k: failed: out of memory"
    assert "launcher logs calm-otter-x7k" in text


def test_the_last_words_of_a_success_give_the_model_and_the_chat(tmp_path):
    from runtime.checkpoint.sealing import seal
    from runtime.checkpoint.staging import open_staging

    with open_staging(tmp_path) as staging:
        (staging / "weights").write_text("w")
        seal(staging, tmp_path / "final", step=40, config_hash="", world_size=1, kind="final")
    found = status("done", output_dir=str(tmp_path))
    assert f"  model        {tmp_path / 'final'}" in last_words(found).splitlines()
    (tmp_path / "final" / "merged").mkdir()
    assert f"  model        {tmp_path / 'final' / 'merged'}" in last_words(found).splitlines()
    assert "launcher chat calm-otter-x7k" in last_words(found)


def test_the_table_shows_one_run_a_line():
    console = Console(width=100, record=True, color_system=None)
    found = status()
    with console.capture() as captured:
        console.print(run_table([(found.record, progress_words(found))], now=1_000_000.0 + 7200))
    lines = [line.rstrip() for line in captured.get().splitlines() if line.strip()]
    assert lines[-1].split() == [
        "calm-otter-x7k",
        "training",
        "step",
        "40",
        "of",
        "120,",
        "train,",
        "80",
        "s",
        "left",
        "2",
        "h",
        "00",
        "min",
        "recipe.yml",
    ]


def test_durations():
    assert [duration(seconds) for seconds in (-1, 0.4, 89, 91, 3600, 5400, 3600 * 47, 86400 * 3)] == [
        "0 s",
        "0 s",
        "89 s",
        "2 min",
        "60 min",
        "1 h 30 min",
        "47 h 00 min",
        "3 d",
    ]
