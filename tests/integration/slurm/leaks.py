"""Looking for secrets where they must not be: in files, and in what other processes were started with."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_PERIOD_S = 0.2


def leaks_below(root: Path, secrets: Mapping[str, str]) -> list[str]:
    """Every file below `root` that has one of the secrets in it, as it is or inside something encoded as base64."""
    signs = _signs(secrets)
    found = []
    for file in sorted(root.rglob("*")):
        with suppress(OSError):
            content = file.read_bytes() if file.is_file() else b""
            found += [f"{file}: {name}" for sign, name in signs.items() if sign in content]
    return found


@contextmanager
def watch(environment: Mapping[str, str], secrets: Mapping[str, str], report: Path) -> Iterator[None]:
    """Writes to `report`, while the block goes on, each process that has a secret among its arguments, and each of SkyPilot's processes on the
    launcher's side (those with its HOME) that has one in its environment."""
    ending = threading.Event()
    report.touch()

    def look() -> None:
        signs, told = _signs(secrets), set[str]()
        home = f"HOME={environment['HOME']}".encode()
        while not ending.wait(_PERIOD_S):
            for line in _in_processes(signs, home):
                if line not in told:
                    told.add(line)
                    with report.open("a") as stream:
                        stream.write(f"{line}\n")

    thread = threading.Thread(target=look, name="leaks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _in_processes(signs: Mapping[bytes, str], home: bytes) -> Iterator[str]:
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with suppress(OSError):
            words = (process / "cmdline").read_bytes()
            yield from (f"argument of {_shown(words)}: {name}" for sign, name in signs.items() if sign in words)
            # The launcher is given secrets in its environment; nobody else on its side is.
            if b"launcher" not in words.split(b"\0") and home in (variables := (process / "environ").read_bytes().split(b"\0")):
                held = b"\0".join(variables)
                yield from (f"environment of {_shown(words)}: {name}" for sign, name in signs.items() if sign in held)


def _shown(words: bytes) -> str:
    return words.replace(b"\0", b" ").decode(errors="replace")[:120]


def _signs(secrets: Mapping[str, str]) -> dict[bytes, str]:
    """What a secret looks like: itself, and the part of its base64 that does not depend on what stands around it, for each of three places to begin."""
    signs: dict[bytes, str] = {}
    for name, value in secrets.items():
        signs[value.encode()] = name
        for before in range(3):
            coded = base64.b64encode(b"x" * before + value.encode())
            signs[coded[(0, 2, 3)[before] : len(coded) // 4 * 4 - 4]] = f"{name} in base64"
    return signs


def told(report: Path) -> Sequence[str]:
    """What a watch has found so far."""
    return report.read_text().splitlines()
