"""The runtime prepares a recipe; from then on the launcher's estimate of it rests on what was counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.train


def test_an_estimate_after_a_preparation_knows_the_tokens(tiny: Path, recipe, tmp_path: Path) -> None:
    file = recipe(sample_packing=True, max_steps=None, num_epochs=3, dataset_prepared_path=str(tmp_path / "prepared"))

    def tokens() -> dict[str, object]:
        shown = _run("launcher", "estimate", str(file), "--gpus", "L4:1", "--json")
        return shown["time"]["tokens_range"] | {"steps": shown["time"]["steps"]}

    assert "earlier preparation" not in json.dumps(tokens())
    report = _run("runtime", "preprocess", str(_plain(file, tmp_path)), "--json")
    counted = tokens()
    assert counted["value"] == counted["low"] == counted["high"] == 3 * report["tokens"]
    assert counted["steps"] == 3 * -(-report["packed_rows"] // 22)
    again = recipe("again", sample_packing=True, max_steps=None, num_epochs=3, dataset_prepared_path=str(tmp_path / "prepared"), seed=5)
    other = _run("launcher", "estimate", str(again), "--gpus", "L4:1", "--json")
    assert other["time"]["tokens_range"]["low"] < other["time"]["tokens_range"]["high"]


def _plain(file: Path, folder: Path) -> Path:
    """The recipe as the runtime gets it: written anew, with the same options."""
    copy = folder / "config.yaml"
    copy.write_text(yaml.safe_dump(yaml.safe_load(file.read_text(encoding="utf-8"))), encoding="utf-8")
    return copy


def _run(*command: str) -> dict:
    made = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=120)
    assert made.returncode in (0, 3), made.stderr
    return json.loads(made.stdout)["data"]
