"""The managed runtime environment: a virtual environment with the training stack, made once on first use."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.state.lock import waiting_for
from launcher.state.refusals import refusal
from launcher.state.tail import last_lines
from runtime.config.problem import Problem, UserError

TORCH = "2.13.0"
_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

Report = Callable[[str], None]
"""Takes one line of progress for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedEnvironment:
    """One virtual environment, named after the requirements it holds. It counts as made only once its marker, written last, is there."""

    path: Path
    requirements: Path
    with_gpu: bool

    @property
    def python(self) -> Path:
        """Its interpreter, whether it exists yet or not."""
        return self.path / "bin" / "python"

    @property
    def marker(self) -> Path:
        """The file that says the environment is complete."""
        return self.path / "complete"

    @property
    def ready(self) -> Path:
        """The interpreter once the environment is complete, the missing marker before: a path that exists exactly when it can be used."""
        return self.python if self.marker.exists() else self.marker

    @property
    def log_path(self) -> Path:
        """What pip said while the environment was made."""
        return self.path.with_suffix(".log")


def managed_environment(data_root: Path, requirements: Path, *, with_gpu: bool) -> ManagedEnvironment:
    """The environment for these requirements, this Python and this kind of machine, below `data_root`."""
    key = "\n".join((requirements.read_text(encoding="utf-8"), platform.python_version(), TORCH, "gpu" if with_gpu else "cpu"))
    return ManagedEnvironment(
        path=data_root / f"runtime-{hashlib.sha256(key.encode()).hexdigest()[:12]}", requirements=requirements, with_gpu=with_gpu
    )


def has_nvidia_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU, by its device files or its driver's tool."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or shutil.which("nvidia-smi") is not None


def make_environment(environment: ManagedEnvironment, *, report: Report, python: str = sys.executable) -> Path:
    """Make the environment, or wait for the process that is making it; returns its interpreter. Raises UserError with the end of pip's log.

    Torch comes first and is then held by a constraint, so that no later package swaps in a build for other hardware. An environment left half-made by
    a kill has no marker and is made anew.
    """
    try:
        environment.path.parent.mkdir(parents=True, exist_ok=True)
        with waiting_for(environment.path.with_suffix(".lock")):
            if environment.marker.exists():
                return environment.python
            shutil.rmtree(environment.path, ignore_errors=True)
            _build(environment, report, python)
            environment.marker.write_text(f"torch {TORCH}\n", encoding="utf-8")
    except OSError as error:
        raise UserError(refusal(error, environment.path)) from error
    return environment.python


def _build(environment: ManagedEnvironment, report: Report, python: str) -> None:
    report(f"making a Python environment with the training stack in {environment.path} (once; a few minutes, about 3 GB)")
    environment.log_path.unlink(missing_ok=True)
    if not _run([python, "-m", "venv", str(environment.path)], environment.log_path, report):
        raise _failed(
            "cannot make a virtual environment",
            environment,
            fix="install Python's venv module (on Debian and Ubuntu: apt install python3-venv), or set LAUNCHER_RUNTIME_PYTHON",
        )
    pip = [str(environment.python), "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
    _install_torch(environment, pip, report)
    constraint = environment.path / "torch-constraint.txt"
    constraint.write_text(f"torch=={TORCH}\n", encoding="utf-8")
    report("installing transformers, peft, datasets and what they need")
    if not _run([*pip, "--constraint", str(constraint), "--requirement", str(environment.requirements)], environment.log_path, report):
        raise _failed(
            "cannot install the training stack", environment, fix="check the network and pip's configuration, then run the command again"
        )


def _install_torch(environment: ManagedEnvironment, pip: Sequence[str], report: Report) -> None:
    for arguments, words in _torch_choices(environment.with_gpu):
        report(words)
        if _run([*pip, *arguments], environment.log_path, report):
            return
    raise _failed(f"cannot install torch {TORCH}", environment, fix="check the network and pip's configuration, then run the command again")


def _torch_choices(with_gpu: bool) -> list[tuple[list[str], str]]:
    """pip arguments to try in order, each with a word to the user."""
    plain = [f"torch=={TORCH}"]
    if with_gpu:
        return [(plain, f"installing torch {TORCH} for the NVIDIA GPU of this machine (about 3 GB to download)")]
    if sys.platform == "darwin":
        return [(plain, f"installing torch {TORCH}")]
    cpu = [f"torch=={TORCH}+cpu"]
    return [
        (cpu, f"installing torch {TORCH} for the CPU (about 200 MB to download)"),
        ([*cpu, "--index-url", _CPU_INDEX], f"not in the configured package index; trying {_CPU_INDEX}"),
        (plain, "no CPU build can be reached; installing the build with GPU libraries, which works here too but is about 3 GB"),
    ]


def _run(arguments: Sequence[str], log: Path, report: Report) -> bool:
    """Whether the command succeeded; its output goes to `log`, and what pip collects or installs to the user."""
    with log.open("a", encoding="utf-8") as stream:
        stream.write("$ " + " ".join(arguments) + "\n")
        stream.flush()
        process = subprocess.Popen(
            list(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                stream.write(line)
                if words := _pip_progress(line):
                    report(f"  {words}")
            return process.wait() == 0
        except BaseException:
            process.terminate()
            process.wait()
            raise


def _pip_progress(line: str) -> str | None:
    """What a line of pip's output says to somebody who waits; None for the many that say nothing."""
    if line.startswith("Installing collected packages"):
        return f"installing {line.count(',') + 1} packages"
    match = re.match(r"\s*(?:Downloading|Using cached|Processing) (\S+)(?: \(([^)]+)\))?", line)
    if match is None or match[1].endswith(".metadata"):
        return None
    return Path(match[1]).name + (f" ({match[2]})" if match[2] else "")


def _failed(message: str, environment: ManagedEnvironment, *, fix: str) -> UserError:
    tail = "\n".join(line for line in last_lines(environment.log_path, 6) if line.strip())
    return UserError(
        Problem(
            code="environment",
            message=message,
            place=str(environment.path),
            fix=f"{fix}\nthe log is {environment.log_path}; it ends with:\n{tail}",
        )
    )
