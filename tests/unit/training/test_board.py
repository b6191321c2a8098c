"""The board over torch's key-value server: words arrive, nothing waits, and a head that is gone is told in one way."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

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


class Wire:
    """A connection to `port` that can be cut so that neither side hears of it."""

    def __init__(self, port: int) -> None:
        self.cut = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._to = port
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        here, _ = self._listening.accept()
        there = socket.create_connection(("127.0.0.1", self._to))
        self._ends = [self._listening, here, there]
        for source, target in ((here, there), (there, here)):
            threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 16):
                if not self.cut.is_set():
                    target.sendall(content)

    def close(self) -> None:
        for end in self._ends:
            end.close()


def test_a_head_that_vanishes_without_a_word_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from datetime import timedelta

    from runtime.training import board

    head = TcpBoard("127.0.0.1")
    wire = Wire(head.port)
    other = TcpBoard("127.0.0.1", wire.port)
    other.post("call", b"1")
    assert other.read("call") == b"1"
    wire.cut.set()
    monkeypatch.setattr(board, "_TIMEOUT", timedelta(seconds=0.1))
    for _ in range(2):
        with pytest.raises(ConnectionError, match="the head of this run does not answer: not for"):
            other.read("call")
    wire.close()


def test_the_head_keeps_it() -> None:
    pytest.importorskip("torch")
    assert open_board(Rank()).port > 0
