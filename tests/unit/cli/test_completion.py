"""What a shell offers after Tab: commands, options, names of options and of runs; files are the shell's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.state.runs import create_run
from runtime.record import RunRecord


def offered(shell: str, line: str, state: Path) -> str:
    """What completing the last word of `line` prints for `shell`."""
    words = line.split(" ")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    finished = subprocess.run(
        [sys.executable, "-c", "from launcher.cli.app import main; main()"],
        env={**os.environ, **asked, "_LAUNCHER_COMPLETE": f"complete_{shell}", "LAUNCHER_STATE_DIR": str(state)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in finished.stderr
    return finished.stdout


@pytest.fixture
def state(tmp_path: Path) -> Path:
    for name in ("brave-heron", "calm-otter"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").touch()
    for number in (1, 2):
        folder = create_run(tmp_path, f"wide-grid-{number}")
        record = RunRecord(run=folder.run, recipe="r.yml", backend="local", output_dir="/nowhere", created=0.0, sweep="wide-grid")
        folder.save(record)
    return tmp_path


@pytest.mark.parametrize(
    ("shell", "line", "wanted", "unwanted"),
    [
        ("bash", "launcher va", "validate", "status"),
        ("bash", "launcher validate --f", "--fix", "--set"),
        ("bash", "launcher explain lora_r", "lora_rank_pattern", "lora_alpha"),
        ("zsh", "launcher explain datasets[].ty", "datasets[].type", "datasets[].path"),
        ("zsh", "launcher logs ", "calm-otter", "validate"),
        ("fish", "launcher status br", "brave-heron", "calm-otter"),
        ("fish", "launcher va", "validate", "status"),
        ("fish", "launcher metrics wide", "wide-grid\n", "brave-heron"),
        ("fish", "launcher logs wide", "wide-grid-2\n", "wide-grid\n"),
    ],
)
def test_the_last_word_is_completed(shell: str, line: str, wanted: str, unwanted: str, state: Path) -> None:
    printed = offered(shell, line, state)
    assert wanted in printed
    assert unwanted not in printed


def test_files_are_left_to_the_shell(state: Path) -> None:
    assert offered("bash", "launcher validate exa", state).strip() == ""
    assert "_files" in offered("zsh", "launcher validate exa", state)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_to_install_is_shown(shell: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", "from launcher.cli.app import main; main()", "--show-completion", shell],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert f"complete_{shell}" in finished.stdout


def test_completing_imports_nothing_heavy(state: Path) -> None:
    code = "import sys\nfrom launcher.cli.app import main\ntry:\n    main([])\nfinally:\n    print(sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "COMP_WORDS": "launcher va", "COMP_CWORD": "1", "_LAUNCHER_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    for heavy in ("rich", "yaml", "torch", "numpy"):
        assert f"'{heavy}'" not in finished.stderr
