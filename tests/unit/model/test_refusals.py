"""What the Hub refuses is told as what it is: a name that is not there, a gate, a token, a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import ExitCode, UserError

pytestmark = pytest.mark.train

KINDS = ("model", "tokenizer", "dataset")


def asked(what: str, name: str, revision: str | None = None) -> Any:
    """Ask the Hub for the architecture, the tokenizer or the rows of `name`."""
    from runtime.config.schema import TrainingConfig

    config = TrainingConfig.model_construct(base_model=name, revision_of_model=revision)
    if what == "model":
        from runtime.model.load import load_architecture

        return load_architecture(config)
    if what == "tokenizer":
        from runtime.model.tokenizer import load_tokenizer

        return load_tokenizer(config)
    from runtime.data.sources import find_source, load_rows

    entry = SimpleNamespace(path=name, split=None, name=None, data_files=None, ds_type=None, revision=revision)
    return load_rows(find_source(entry, option="datasets[0]"))


def told(what: str, name: str, revision: str | None = None) -> list[Any]:
    """Code, exit code, message, option and fix of the refusal."""
    with pytest.raises(UserError) as caught:
        asked(what, name, revision)
    (problem,) = caught.value.problems
    return [problem.code, int(caught.value.exit_code), problem.message, problem.path, problem.fix]


def main() -> None:
    """Everything that is asked, as one process: the libraries read the address of the Hub when they are imported."""
    answers = {}
    for what in KINDS:
        answers[f"missing {what}"] = told(what, "org/missing")
        answers[f"gated {what}"] = told(what, "org/gated")
        answers[f"revision {what}"] = told(what, "org/open", "v9")
    answers["rows"] = asked("dataset", "org/private")["text"][:]
    del os.environ["HF_TOKEN"]
    for what in KINDS:
        answers[f"private {what}"] = told(what, "org/locked")
    sys.stdout.write(json.dumps(answers))


def test_what_the_hub_refuses(hub: Any, tmp_path: Path, checkout: Path) -> None:
    for kind, files in (("models", {"config.json": b'{"model_type": "llama"}'}), ("datasets", {"rows.jsonl": b'{"text": "a"}\n'})):
        for name, settings in (("private", {"private": True}), ("locked", {"private": True}), ("gated", {"gated": True}), ("open", {})):
            hub.server.put(f"{kind}/org/{name}", files, **settings)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {**kept, **hub.environment, "HF_HOME": str(tmp_path), "PYTHONPATH": str(checkout)}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert hub.server.token not in done.stdout + done.stderr
    answers = json.loads(done.stdout)
    assert answers["rows"] == ["a"]
    for what in KINDS:
        option = "datasets[0].path" if what == "dataset" else "base_model"
        noun = "dataset" if what == "dataset" else "model"
        code, status, message, path, fix = answers[f"missing {what}"]
        assert (code, status, path) == ("missing-file", ExitCode.INVALID, option)
        assert f"no such {noun}" in message
        assert fix
        code, status, message, path, fix = answers[f"gated {what}"]
        assert (code, status, path) == ("credentials", ExitCode.REMOTE_REFUSED, option)
        assert f"lends this {noun} to those who have accepted" in message
        assert "org/gated" in fix
        code, status, message, path, _ = answers[f"revision {what}"]
        assert (code, status, path) == ("missing-file", ExitCode.INVALID, option if what == "dataset" else "revision_of_model")
        assert "no revision 'v9'" in message
        code, status, message, path, fix = answers[f"private {what}"]
        assert (code, status, path) == ("credentials", ExitCode.REMOTE_REFUSED, option)
        assert "there is no token" in message
        assert "HF_TOKEN" in fix


@pytest.mark.parametrize("what", KINDS)
def test_nobody_to_ask(what: str) -> None:
    # The tests' own environment keeps the libraries offline, as a run does when nobody answers.
    code, status, _, path, _ = told(what, "org/never-fetched")
    assert (code, status) == ("unreachable", ExitCode.REMOTE_REFUSED)
    assert path in ("base_model", "datasets[0].path")


if __name__ == "__main__":
    main()
