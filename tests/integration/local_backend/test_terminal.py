"""`up` on a real terminal: the question before, the live view, Ctrl-C and its three answers."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import psutil
import pytest

UP = ("up", "recipe.yml", "--cloud", "local", "--name", "one")


class Terminal:
    """The launcher on a pseudo-terminal of 100 columns."""

    def __init__(self, place, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            # Whoever runs the tests in the background ignores it, and children inherit that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "launcher", *arguments],
            cwd=place.folder,
            env=place.environment | {"TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=own_terminal,
        )
        os.close(slave)
        self.seen = ""

    def wait_for(self, text: str, timeout: float = 30) -> None:
        until = time.monotonic() + timeout
        while text not in self.seen:
            assert time.monotonic() < until, f"{text!r} did not appear in: {self.seen[-2000:]}"
            self._read(0.2)

    def wait_until_it_reads(self, timeout: float = 30) -> None:
        """A signal between the question and the reading of the answer is seen only after the reading: nobody types that fast."""
        until = time.monotonic() + timeout
        calm = 0
        while calm < 5:
            assert time.monotonic() < until
            calm = calm + 1 if psutil.Process(self.process.pid).status() == psutil.STATUS_SLEEPING else 0
            time.sleep(0.05)

    def type(self, keys: str) -> None:
        self.seen = ""
        os.write(self.master, keys.encode())

    def end(self, timeout: float = 30) -> int:
        until = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < until, self.seen[-2000:]
            self._read(0.1)
        while self._read(0.1):
            pass
        return self.process.returncode

    def _read(self, patience: float) -> bool:
        if not select.select([self.master], [], [], patience)[0]:
            return False
        try:
            piece = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", piece.decode(errors="replace"))
        return bool(piece)


@pytest.fixture
def slow(place):
    place.recipe(steps=3000)
    place.wrong(step_s=0.02)
    return place


def test_it_asks_and_no_means_no(slow):
    terminal = Terminal(slow, *UP)
    terminal.wait_for("[y/N]")
    terminal.type("n\n")
    assert terminal.end() == 130
    assert not (slow.folder / "model-out").exists()


def test_ctrl_c_at_the_question_is_130(slow):
    terminal = Terminal(slow, *UP)
    terminal.wait_for("[y/N]")
    terminal.wait_until_it_reads()
    terminal.type("\x03")
    assert terminal.end() == 130
    assert not (slow.folder / "model-out").exists()


def test_ctrl_c_asks_and_d_detaches(slow):
    terminal = Terminal(slow, *UP)
    terminal.wait_for("[y/N]")
    terminal.type("y\n")
    terminal.wait_for("tok/s")
    terminal.type("\x03")
    terminal.wait_for("continue watching?")
    terminal.type("c\n")
    terminal.wait_for("tok/s")
    terminal.type("\x03")
    terminal.wait_for("continue watching?")
    terminal.type("d\n")
    assert terminal.end() == 0
    assert "launcher logs one -f" in terminal.seen
    assert slow.data("status", "one")["state"] == "training"
    slow.launcher("stop", "one")


def test_ctrl_c_and_s_stop_it_at_a_sealed_checkpoint(slow):
    terminal = Terminal(slow, *UP, "-y")
    terminal.wait_for("tok/s")
    terminal.type("\x03")
    terminal.wait_for("continue watching?")
    terminal.type("s\n")
    assert terminal.end() == 6
    assert "launcher resume one" in terminal.seen
    assert slow.data("status", "one")["state"] == "stopped"


def test_a_closed_terminal_leaves_the_run_alone(slow):
    terminal = Terminal(slow, *UP, "-y")
    terminal.wait_for("tok/s")
    os.close(terminal.master)
    terminal.process.wait(20)
    assert slow.data("status", "one")["state"] == "training"
    slow.launcher("stop", "one")
