"""A place to run in: its own state folder, a fake runtime interpreter, and the launcher as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_training import RECIPE

LAUNCH = """\
launch:
  recovery:
    grace_s: 5
"""


# The smallest shape the plan can reckon with; the fake runtime never looks at it.
MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 128,
    "tie_word_embeddings": True,
    "dtype": "float32",
}


class Place:
    """A working folder with a recipe, and the launcher run in it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.state = Path(environment["LAUNCHER_STATE_DIR"])

    def recipe(self, name: str = "recipe.yml", *, steps: int = 20, more: str = "") -> Path:
        path = self.folder / name
        path.write_text(RECIPE.format(steps=steps) + LAUNCH + more)
        return path

    def wrong(self, **behaviour: Any) -> None:
        (self.folder / "fake.json").write_text(json.dumps(behaviour))

    def launcher(self, *arguments: str, environment: dict[str, str] | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "launcher", *arguments],
            cwd=self.folder,
            env=self.environment | (environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def data(self, *arguments: str, code: int = 0, environment: dict[str, str] | None = None) -> Any:
        """The `data` of a command run with --json, whose exit code must be `code`."""
        finished = self.launcher(*arguments, "--json", environment=environment)
        assert finished.returncode == code, finished.stdout + finished.stderr
        printed = json.loads(finished.stdout)
        assert printed["schema"] == f"launcher.{arguments[0]}/1"
        return printed["data"]

    def record(self, run: str) -> dict[str, Any]:
        return json.loads((self.state / "runs" / run / "run.json").read_text())

    def wait(self, condition: Callable[[], Any], timeout: float = 20) -> Any:
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            try:
                if found := condition():
                    return found
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.03)
        raise AssertionError("it did not happen in time")

    def events(self, run: str, kind: str) -> list[dict[str, Any]]:
        path = Path(self.record(run)["output_dir"]) / "events.jsonl"
        return [event for line in path.read_text().splitlines() if (event := json.loads(line))["kind"] == kind]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps(MODEL))
    (folder / "rows.jsonl").write_text('{"instruction": "a", "input": "", "output": "b"}\n')
    interpreter = tmp_path / "fake-python"
    # The fake imports the light half of the runtime through the PYTHONPATH the launcher sets, as the real one does.
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("fake_runtime.py")} "$@"\n')
    interpreter.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LAUNCHER_")},
        "LAUNCHER_STATE_DIR": str(tmp_path / "state"),
        "LAUNCHER_RUNTIME_PYTHON": str(interpreter),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
    }
    place = Place(folder, environment)
    yield place
    for process in psutil.process_iter(["pid", "cmdline"]):
        # Whatever a failed test left behind names its own temporary folder on its command line.
        if any(str(tmp_path) in part for part in process.info["cmdline"] or ()):
            process.kill()
