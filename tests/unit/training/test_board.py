"""The board over torch's key-value server: words arrive, nothing waits, and a head that is gone is told in one way."""

from __future__ import annotations

import pytest

from runtime.config.problem import ExitCode, UserError
from runtime.training.board import TcpBoard, open_board
from runtime.training.processes import Rank

pytestmark = pytest.mark.train


def test_words_arrive_and_the_last_one_stays() -> None:
    pytest.importorskip("torch")
    head = TcpBoard("127.0.0.1")
    other = TcpBoard("127.0.0.1", head.port)
    assert other.read("call") is None
    head.post("call", b'{"step":1}')
    head.post("call", b"\x00\xff" * 100_000)
    assert other.read("call") == b"\x00\xff" * 100_000
    other.post("answer", b"")
    assert head.read("answer") == b""
    del head
    with pytest.raises(ConnectionError, match="the head of this run does not answer"):
        other.read("call")


def test_a_head_that_cannot_be_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from datetime import timedelta

    from runtime.training import board

    monkeypatch.setattr(board, "_TIMEOUT", timedelta(seconds=0.2))
    with pytest.raises(UserError) as refused:
        TcpBoard("127.0.0.1", 9)
    assert (refused.value.problems[0].code, refused.value.exit_code) == ("unreachable", ExitCode.TRAINING_FAILED)


def test_the_head_keeps_it() -> None:
    pytest.importorskip("torch")
    assert open_board(Rank()).port > 0
