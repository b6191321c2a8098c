from pathlib import Path

import pytest

from launcher.backend.local.child_environment import attempt_variables, check_secrets, training_environment
from runtime.config.problem import ExitCode, UserError

PARENT = {
    "PATH": "/usr/bin",
    "HOME": "/home/a",
    "HF_HOME": "/cache",
    "HF_TOKEN": "hf_secret",
    "WANDB_PROJECT": "p",
    "WANDB_API_KEY": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "0",
    "LC_ALL": "C",
    "PYTHONPATH": "/somewhere",
    "LAUNCHER_STATE_DIR": "/state",
    "UNRELATED": "x",
}


def test_only_what_training_needs_passes():
    environment = training_environment(PARENT, secrets=[])
    assert set(environment) == {
        "PATH",
        "HOME",
        "HF_HOME",
        "WANDB_PROJECT",
        "TOKENIZERS_PARALLELISM",
        "CUDA_VISIBLE_DEVICES",
        "LC_ALL",
        "PYTHONUNBUFFERED",
        "PYTHONSAFEPATH",
    }


def test_named_secrets_pass_and_no_others():
    environment = training_environment(PARENT, secrets=["HF_TOKEN", "UNRELATED", "NOT_SET"])
    assert environment["HF_TOKEN"] == "hf_secret"
    assert environment["UNRELATED"] == "x"
    assert "WANDB_API_KEY" not in environment
    assert "NOT_SET" not in environment


def test_the_runtime_is_the_only_addition_to_the_import_path():
    environment = training_environment(PARENT, secrets=[], python=Path("/env/bin/python"), runtime_path=Path("/state/runtime-path/x"))
    assert environment["PYTHONPATH"] == "/state/runtime-path/x"
    assert environment["PATH"] == "/env/bin:/usr/bin"


def test_attempts_are_told_who_they_are():
    variables = attempt_variables(
        run="calm-otter-x7k", run_dir=Path("/s/runs/calm-otter-x7k"), attempt=2, chaos=["kill@3", "preempt@9:5"], grace_s=120.0
    )
    assert variables == {
        "LAUNCHER_RUN": "calm-otter-x7k",
        "LAUNCHER_RUN_DIR": "/s/runs/calm-otter-x7k",
        "LAUNCHER_ATTEMPT": "2",
        "LAUNCHER_GRACE_S": "120",
        "LAUNCHER_CHAOS": "kill@3,preempt@9:5",
    }
    assert "LAUNCHER_CHAOS" not in attempt_variables(run="a", run_dir=Path("/a"), attempt=1, chaos=[], grace_s=1.5)


def test_every_missing_secret_is_named_with_exit_8():
    with pytest.raises(UserError) as caught:
        check_secrets(["HF_TOKEN", "A_TOKEN", "B_TOKEN"], {"HF_TOKEN": "x", "B_TOKEN": ""})
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED
    assert [problem.message.split()[3] for problem in caught.value.problems] == ["A_TOKEN", "B_TOKEN"]
