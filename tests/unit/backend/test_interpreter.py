import sys
from pathlib import Path

import pytest

from launcher.backend.local.interpreter import find_interpreter, has_stack_here
from runtime.config.problem import UserError


def script(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_the_named_interpreter_wins(tmp_path):
    python = script(tmp_path / "python", "echo missing:\n")
    found = find_interpreter({"LAUNCHER_RUNTIME_PYTHON": str(python)}, managed=tmp_path / "none", make=None)
    assert found == python


def test_looking_at_it_tells_it_no_secret(tmp_path):
    python = script(tmp_path / "python", 'echo "missing:$HF_TOKEN$OTHER_SECRET"\n')
    environment = {"LAUNCHER_RUNTIME_PYTHON": str(python), "HF_TOKEN": "canary", "OTHER_SECRET": "canary", "PATH": "/usr/bin:/bin"}
    assert find_interpreter(environment, managed=tmp_path / "none", make=None) == python


def test_a_link_is_kept_because_following_it_leaves_the_environment(tmp_path):
    python = script(tmp_path / "python", "echo missing:\n")
    (tmp_path / "link").symlink_to(python)
    assert find_interpreter({"LAUNCHER_RUNTIME_PYTHON": str(tmp_path / "link")}, managed=tmp_path / "none", make=None) == tmp_path / "link"


@pytest.mark.parametrize(
    ("text", "message"),
    [("echo missing:torch,peft\n", "lacks torch, peft"), ("exit 3\n", "does not work"), ("echo hello\n", "does not work")],
)
def test_a_named_interpreter_that_cannot_train_is_refused(tmp_path, text, message):
    python = script(tmp_path / "python", text)
    with pytest.raises(UserError, match=message):
        find_interpreter({"LAUNCHER_RUNTIME_PYTHON": str(python)}, managed=tmp_path / "none", make=None)


def test_a_name_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such executable"):
        find_interpreter({"LAUNCHER_RUNTIME_PYTHON": str(tmp_path / "nothing")}, managed=tmp_path / "none", make=None)


def test_without_a_name_it_is_this_one_or_the_managed_one(tmp_path):
    managed = tmp_path / "managed"
    managed.touch()
    expected = Path(sys.executable) if has_stack_here() else managed
    assert find_interpreter({}, managed=managed, make=None) == expected
