"""The launcher works in both environments: with SkyPilot and without the training stack, and beside the training stack."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "peft", "datasets", "trl", "accelerate", "bitsandbytes", "sky", "huggingface_hub")


def launch(
    *arguments: str, cwd: Path, code: str = "from launcher.cli.app import main; main()", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.cloud
def test_the_cloud_environment_has_no_training_stack() -> None:
    assert importlib.util.find_spec("torch") is None
    assert importlib.util.find_spec("transformers") is None


@pytest.mark.train
def test_the_training_environment_has_no_skypilot() -> None:
    assert importlib.util.find_spec("sky") is None


def test_help_works_here(checkout: Path) -> None:
    done = launch("--help", cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert "resume" in done.stdout


def test_validate_works_here(checkout: Path) -> None:
    done = launch("validate", "examples/quickstart.yml", "--json", cwd=checkout)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["schema"] == "launcher.validate/1"
    assert answer["ok"] is True
    assert answer["data"]["files"][0]["errors"] == []


@pytest.mark.parametrize("arguments", [("--help",), ("validate", "examples/quickstart.yml"), ("ps",)], ids=lambda words: words[0])
def test_everyday_commands_import_no_heavy_library(checkout: Path, arguments: tuple[str, ...]) -> None:
    code = (
        f"import atexit, sys; atexit.register(lambda: print('heavy', [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)); "
        "from launcher.cli.app import main; main()"
    )
    done = launch(*arguments, cwd=checkout, code=code)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "heavy []"


@pytest.mark.slow
def test_a_run_starts_from_here_with_the_interpreter_that_has_the_stack(checkout: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None and "LAUNCHER_RUNTIME_PYTHON" not in os.environ:
        pytest.skip("no environment with the training stack is named by LAUNCHER_RUNTIME_PYTHON")
    settings = [
        "max_steps=2",
        "eval_steps=2",
        "save_steps=2",
        "micro_batch_size=1",
        f"output_dir={tmp_path / 'out'}",
        f"dataset_prepared_path={tmp_path / 'data'}",
    ]
    flags = [word for setting in settings for word in ("--set", setting)]
    done = launch(
        "up",
        "examples/quickstart.yml",
        "--cloud",
        "local",
        "-y",
        "--json",
        *flags,
        cwd=checkout,
        LAUNCHER_STATE_DIR=str(tmp_path / "state"),
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)["data"]
    assert data["steps"] == 2
    assert [checkpoint["step"] for checkpoint in data["checkpoints"] if checkpoint["sealed"]] == [2]
    assert (tmp_path / "out" / "final" / "merged" / "config.json").is_file()
