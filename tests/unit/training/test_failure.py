"""Errors of the libraries are said so that the user can act on them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from runtime.checkpoint.disk import looks_full
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.training.failure import absence, explain


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out-of-memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "out-of-memory"),
        (MemoryError(), "out-of-memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk-full"),
        (RuntimeError("Error while serializing: I/O error: File too large (os error 27)"), "disk-full"),
        (ValueError("shapes differ\nand more"), "training-failed"),
    ],
)
def test_kinds(error: Exception, code: str, tmp_path: Path) -> None:
    said = explain(error, output_dir=tmp_path)
    assert said.problems[0].code == code
    assert said.problems[0].fix
    assert said.exit_code == ExitCode.TRAINING_FAILED
    assert "\n" not in said.problems[0].message


def test_what_is_said_already_stays() -> None:
    error = UserError(Problem(code="x", message="y"), exit_code=ExitCode.NOT_VERIFIED)
    assert explain(error, output_dir=Path()) is error


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (RuntimeError("[../gloo/transport/tcp/pair.cc:537] Connection closed by peer [127.0.0.1]:47"), "connection closed by peer"),
        (RuntimeError("[../gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 20000ms for recv operation"), "timed out"),
        (RuntimeError("NCCL error: remote process exited or there was a network error"), "its connection broke"),
        (RuntimeError("shapes differ"), None),
        (ConnectionError("connection refused"), None),
        (UserError(Problem(code="x", message="connection refused")), None),
    ],
)
def test_what_torch_says_of_a_process_that_is_gone_is_told_from_failures(error: Exception, how: str | None) -> None:
    assert absence(explain(error)) == how


def test_an_error_that_is_its_own_cause_is_looked_at_once(tmp_path: Path) -> None:
    error = RuntimeError("broken")
    error.__cause__ = error
    assert not looks_full(error, tmp_path)
