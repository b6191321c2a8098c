"""Machines of one run, each with a folder, and so a disk, of its own: processes that meet as torchrun's would, without its agents or with them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from runtime.checkpoint.manifest import read_manifest
from runtime.events import read_events

DEADLINE_S = 240.0
# What a training imports, once for all processes.
_IMPORTS = [
    "torch",
    "transformers",
    "peft",
    "datasets",
    "runtime.model.liger",
    "runtime.model.load",
    "runtime.training.assemble",
    "runtime.training.train",
]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Folders:
    """What the machines of a run leave on their disks."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(folders)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def log(self) -> str:
        return "\n".join(self.log_of(index) for index in range(len(self.folders)))

    def log_of(self, index: int) -> str:
        path = self.folders[index] / "log"
        return path.read_text() if path.exists() else ""

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What the head has told."""
        return [event for event in read_events(self.folders[0] / "out" / "events.jsonl") if event["kind"] == kind]

    def losses(self) -> dict[int, float]:
        return {event["step"]: event["loss"] for event in self.events("loss")}

    def weights(self) -> dict[str, str]:
        """The checksums of the final model's weights."""
        final = read_manifest(self.folders[0] / "out" / "final")
        return {file.path: file.checksum for file in final.files if file.path.endswith(".safetensors")}


class Machines(Folders):
    """The processes of one run, one on each of `folders`. `environment` is all machines', `own` what some have besides."""

    def __init__(
        self,
        folders: Sequence[Path],
        recipe: Path,
        *overrides: str,
        environment: Mapping[str, str] | None = None,
        own: Mapping[int, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(folders)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_IMPORTS)
        port = str(free_port())
        self.processes = []
        for index, folder in enumerate(folders):
            place = {"RANK": str(index), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "WORLD_SIZE": str(len(folders))}
            place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1", **(environment or {})}
            place |= (own or {}).get(index, {})
            process = context.Process(target=_train, args=(str(folder), str(recipe), list(overrides), place), daemon=True)
            process.start()
            self.processes.append(process)

    def wait(self, happened: Callable[[], bool]) -> None:
        until = time.monotonic() + DEADLINE_S
        while not happened():
            assert time.monotonic() < until, self.log
            assert any(process.is_alive() for process in self.processes), self.log
            time.sleep(0.01)

    def end(self) -> list[int | None]:
        """Exit statuses once all have ended."""
        until = time.monotonic() + DEADLINE_S
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
        assert not any(process.is_alive() for process in self.processes), self.log
        return [process.exitcode for process in self.processes]

    def kill(self, *indices: int) -> None:
        """The power goes, everywhere at once."""
        doomed = [self.processes[index] for index in indices or range(len(self.processes))]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in doomed:
                with suppress(ProcessLookupError):
                    os.kill(process.pid or 0, number)
        for process in doomed:
            process.join()


class Agents(Folders):
    """`python -m runtime train` on each machine, which starts torchrun."""

    def __init__(self, folders: Sequence[Path], recipe: Path, *overrides: str, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(folders)
        head = f"127.0.0.1:{free_port()}"
        self.started: list[subprocess.Popen[bytes]] = []
        for index, folder in enumerate(folders):
            place = {"LAUNCHER_NODES": str(len(folders)), "LAUNCHER_NODE_RANK": str(index), "LAUNCHER_HEAD": head, "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "runtime", "train", str(recipe), *(word for item in overrides for word in ("--set", item))]
            with (folder / "log").open("a") as log:
                self.started.append(
                    subprocess.Popen(
                        command,
                        cwd=folder,
                        env={**os.environ, **place, **(environment or {})},
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )

    def wait(self, happened: Callable[[], bool]) -> None:
        until = time.monotonic() + DEADLINE_S
        while not happened():
            assert time.monotonic() < until, self.log
            assert any(agent.poll() is None for agent in self.started), self.log
            time.sleep(0.02)

    def end(self) -> list[int]:
        """Exit statuses once all have ended."""
        return [agent.wait(DEADLINE_S) for agent in self.started]

    def kill(self, *indices: int) -> None:
        """The power goes; torchrun's agent is a session of its own below what was started."""
        doomed: list[psutil.Process] = []
        for index in indices or range(len(self.started)):
            with suppress(psutil.NoSuchProcess):
                top = psutil.Process(self.started[index].pid)
                doomed += [top, *top.children(recursive=True)]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in doomed:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
        psutil.wait_procs(doomed, timeout=30)


def _train(folder: str, recipe: str, overrides: list[str], place: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.update(place)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - for the life of the process
    from runtime.config.load import load_config
    from runtime.config.problem import UserError
    from runtime.training.job import Surroundings
    from runtime.training.stop import StopRequest
    from runtime.training.train import train

    stop = StopRequest()
    stop.install()
    try:
        checked = load_config(Path(recipe), overrides)
        code = int(train(checked.config, Surroundings.of(os.environ), stop))
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        code = int(error.exit_code)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)
