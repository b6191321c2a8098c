"""The processes of one training run: which one this is, how they agree, and how several are started from one command."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runtime.config.problem import ExitCode, Problem, UserError
from runtime.record import write_atomic
from runtime.training.nodes import Nodes

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")

WAIT_S = 1800.0
"""How long processes wait for one another where `ddp_timeout` does not say."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """This process among those of the run."""

    index: int = 0
    local: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls, environment: dict[str, str]) -> Rank:
        """What torchrun set; a single process otherwise."""
        return cls(
            index=int(environment.get("RANK", 0)),
            local=int(environment.get("LOCAL_RANK", 0)),
            world_size=int(environment.get("WORLD_SIZE", 1)),
        )

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.index == 0

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            import torch.distributed as dist

            dist.barrier()

    def share(self, value: Any) -> Any:
        """The main process's `value`, on every process."""
        if self.world_size == 1:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """The `value` of every process, in their order, on each of them."""
        if self.world_size == 1:
            return [value]
        import torch.distributed as dist

        parts: list[Any] = [None] * self.world_size
        dist.all_gather_object(parts, value)
        return parts

    def together(self, work: Callable[[], Result] | None) -> Result | None:
        """What `work` returns here; None where there is none to do. What it raises on any process is raised on all: there as it is, elsewhere as the
        UserError it comes to. Every process must call it, and no `work` may wait for a process that has failed in its own."""
        from runtime.training.failure import explain

        result: Result | None = None
        failed: Exception | None = None
        try:
            result = work() if work is not None else None
        except Exception as error:  # noqa: BLE001 - it is raised below, once the others know of it
            failed = error
        for index, other in enumerate(self.gather(None if failed is None else explain(failed))):
            if other is not None:
                raise failed if failed is not None and index == self.index else other
        return result

    def led(self, work: Callable[[], Result]) -> Result:
        """What `work` returns on the main process, which alone does it, on every process. Raises as `together`. Every process must call it."""
        result: Result = self.share(self.together(work if self.is_main else None))
        return result

    def reduce(self, tensor: torch.Tensor, how: str) -> torch.Tensor:
        """`tensor` combined over all processes: `mean`, `sum` or `max`."""
        if self.world_size == 1:
            return tensor
        import torch.distributed as dist

        tensor = tensor.clone()
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX if how == "max" else dist.ReduceOp.SUM)
        return tensor / self.world_size if how == "mean" else tensor


def wanted_processes(config: Any) -> int:
    """How many processes train on this machine: `launch.processes`, else one for each visible GPU, else one."""
    if config.launch.processes:
        return int(config.launch.processes)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return max(1, len([device for device in visible.split(",") if device.strip() not in ("", "-1")]))
    # Counted without torch, which takes seconds to import: the driver lists its cards as files.
    return max(1, len(list(Path("/proc/driver/nvidia/gpus").glob("*")))) if Path("/proc/driver/nvidia/gpus").is_dir() else 1


def under_torchrun() -> bool:
    """Whether this process is one of several already started."""
    return "TORCHELASTIC_RUN_ID" in os.environ or ("RANK" in os.environ and "WORLD_SIZE" in os.environ)


def run_processes(count: int, arguments: Sequence[str], *, verdict: Path, grace_s: float) -> int:
    """The exit code of `count` training processes started by torchrun with `python -m runtime` and `arguments`.

    torchrun knows one failure code; the processes leave the real one in `verdict`. When they left none they died, and this process dies the same
    way, so that whoever supervises it sees a death and not an error. A stop request is passed on once; a second one ends everything.
    """
    from runtime.training.failure import LOST

    verdict.unlink(missing_ok=True)
    command = [sys.executable, "-m", "runtime.training.processes", str(count), str(verdict), *arguments]
    environment = os.environ | {
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(max(1, int(grace_s))),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or _threads(count),
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL") or ("INFO" if os.environ.get("LAUNCHER_DEBUG") == "1" else "ERROR"),
    }
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    asked = 0

    def pass_on(number: int, frame: Any) -> None:  # noqa: ARG001 - the signature of a handler
        nonlocal asked
        asked += 1
        child.send_signal(signal.SIGTERM if asked == 1 else signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    status = child.wait()
    said = read_verdict(verdict)
    if said is not None and any(problem.code == LOST for problem in said[1]):
        # No failure of the training: whoever supervises it is to begin again.
        print(*said[1], sep="\n", file=sys.stderr, flush=True)  # noqa: T201 - there is no one else to say it
    elif said is not None:
        code, problems = said
        if problems:
            raise UserError(problems, exit_code=ExitCode(code))
        return code
    if status == 0:
        return int(ExitCode.OK)
    if asked:
        return int(ExitCode.INTERRUPTED)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGKILL)
    return int(ExitCode.INTERNAL)


def write_verdict(path: Path, code: int, problems: Sequence[Problem] = ()) -> None:
    """Leave the exit code and its reasons for the parent. The first process to say something is believed."""
    if path.exists():
        return
    with suppress(OSError):
        write_atomic(path, json.dumps({"code": code, "problems": [_fields(problem) for problem in problems]}).encode())


def read_verdict(path: Path) -> tuple[int, list[Problem]] | None:
    """What the processes left, None when they died without a word."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return int(raw["code"]), [Problem(**problem) for problem in raw["problems"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, so that no training process outlives its supervisor (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _threads(count: int) -> str:
    return str(max(1, (os.cpu_count() or 1) // count))


def _fields(problem: Problem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in problem.__dataclass_fields__}


def _agent() -> None:
    """torchrun, tied to its parent's life."""
    import logging

    from torch.distributed.run import main

    count, verdict, *arguments = sys.argv[1:]
    os.environ["RUNTIME_VERDICT"] = verdict
    # A dead process is reported by the parent in one sentence; torchrun's own report is a page.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        main([*Nodes.of(os.environ).meeting, "--nproc-per-node", count, "--module", "runtime", *arguments])
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in (0, None):
            raise
        sys.exit(1)


if __name__ == "__main__":
    die_with_parent()
    _agent()
