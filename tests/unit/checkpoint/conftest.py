"""Small sealed checkpoints, made by the real seal; and operations that die at their k-th change of the disk, for every k."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.layout import step_folder
from runtime.checkpoint.sealing import new_staging, seal
from runtime.config.problem import UserError

DIED = 42
_CHANGES = ("open", "write", "fsync", "rename", "replace", "link", "mkdir", "unlink", "rmdir")
FILES = {"adapter_model.safetensors": b"weights" * 300, "trainer_state.json": b'{"step": 1}', "rng/rank-0.pt": b"\x00\x01"}
Make = Callable[..., Path]


def make_sealed(checkpoints: Path, step: int, *, files: Mapping[str, bytes] = FILES, **options: object) -> Path:
    staging = new_staging(checkpoints)
    for name, content in files.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(content)
    final = checkpoints / step_folder(step)
    seal(staging, final, step=step, config_hash=options.pop("config_hash", "abc"), world_size=1, created=1000.0, **options)  # type: ignore[arg-type]
    return final


@pytest.fixture
def sealed(tmp_path: Path) -> Make:
    """`sealed(40, files=…)`: a sealed checkpoint below `tmp_path/checkpoints`."""

    def make(step: int, *, checkpoints: Path | None = None, **options: object) -> Path:
        return make_sealed(checkpoints or tmp_path / "checkpoints", step, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def as_nobody(tmp_path: Path) -> Callable[[Callable[[], object]], str]:
    """`as_nobody(operation)`: the code of the UserError it raises without root's rights, `""` when it raises none."""

    def run(operation: Callable[[], object]) -> str:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            code = "crashed"
            try:
                if os.getuid() == 0:
                    # Those that pytest has made: one more when several workers run.
                    for folder in (tmp_path, *tmp_path.parents[:3]):
                        if not folder.stat().st_mode & 0o001:
                            folder.chmod(0o755)
                    os.setuid(65534)
                operation()
                code = ""
            except UserError as error:
                code = error.problems[0].code
            finally:
                os.write(writer, code.encode())
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as said:
            code = said.read()
        os.waitpid(child, 0)
        return code

    return run


@pytest.fixture
def deaths() -> Callable[[Callable[[], None], Callable[[], object]], Iterator[int]]:
    """`for point in deaths(prepare, operation)`: yields after the operation, prepared afresh, has died at each point."""
    return _deaths


def _die_at(point: int) -> None:
    """From now on, this process ends at the `point`-th call that changes the disk; a write is done by half before."""
    lock = threading.Lock()
    seen = count()

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with lock:
                if next(seen) != point:
                    return real(*args, **kwargs)
                try:
                    if name == "write":
                        real(args[0], bytes(args[1])[: len(args[1]) // 2])
                finally:
                    os._exit(DIED)

        return call

    for name in _CHANGES:
        setattr(os, name, wrap(name, getattr(os, name)))


def _deaths(prepare: Callable[[], None], operation: Callable[[], object]) -> Iterator[int]:
    """Yields each point after the operation, prepared afresh, has died there; ends when it ran through."""
    for point in count():
        prepare()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _die_at(point)
                operation()
                status = 0
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            return
        assert status == DIED, f"the operation failed by itself at point {point}: status {status}"
        yield point
