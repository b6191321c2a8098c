"""Secrets travel encrypted, and come out on the machine that has the key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.backend.node.secrets import with_secrets
from launcher.task.envelope import KEYS, SEALED, seal, unseal
from runtime.config.problem import UserError

VALUES = {"HF_TOKEN": "canary-1f", "ODD": "a\n'\"$() ä"}


def test_what_is_sealed_tells_nothing_and_opens_again() -> None:
    sealed, key = seal(VALUES)
    assert "canary" not in sealed
    assert unseal(sealed, key + "\n") == VALUES
    assert seal(VALUES) != (sealed, key)


def test_another_key_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        unseal(seal(VALUES)[0], seal(VALUES)[1])
    with pytest.raises(UserError, match="cannot be opened"):
        unseal(seal(VALUES)[0], "no key at all")


def test_a_machine_opens_them_with_the_key_of_its_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed, key = seal(VALUES)
    for name in (*VALUES, SEALED):
        monkeypatch.setenv(name, "before")
    environment = {SEALED: sealed, "LAUNCHER_SUBMISSION": "one", "HF_TOKEN": "older"}
    with pytest.raises(UserError, match="did not come"):
        with_secrets(tmp_path, environment)
    (tmp_path / KEYS).mkdir()
    (tmp_path / KEYS / "one").write_text(key)
    assert with_secrets(tmp_path, environment) == VALUES | {"LAUNCHER_SUBMISSION": "one"}
    assert os.environ["HF_TOKEN"] == "canary-1f"
    assert SEALED not in os.environ


def test_a_task_started_by_hand_has_its_secrets_in_the_open(tmp_path: Path) -> None:
    assert with_secrets(tmp_path, {"HF_TOKEN": "x"}) == {"HF_TOKEN": "x"}
